-- Register a process with the highest version and ids that it has seen.
--
-- KEYS[1]  processes
-- ARGV[1]  the process
-- ARGV[2]  run id of the server
-- ARGV[3]  the version and the ids, separated by spaces
local DAY = 86400
local now = tonumber(redis.call('TIME')[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. now .. ' ' .. ARGV[3])
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local at = tonumber(string.match(entries[i + 1], '^%S* (%d+) '))
  if at < now - DAY then redis.call('HDEL', KEYS[1], entries[i]) end
end
