-- Register a process with the highest version and ids that it has seen, and remove what is older
-- than a day or cannot be read.
--
-- KEYS[1]  processes
-- KEYS[2]  meta
-- ARGV[1]  the process
-- ARGV[2]  run id of the server
-- ARGV[3]  1 to issue a version, so that an earlier state of the server can be told from this one
-- ARGV[4…] the version and the ids
-- Result   the last version issued; 0 in an empty store
local DAY = 86400
local now = tonumber(redis.call('TIME')[1])
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[1], table.concat({ ARGV[2], now, unpack(ARGV, 4) }, ' '))
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local at = tonumber(string.match(entries[i + 1], '^%S* (%d+) %d+ %d+ %d+ %d+$'))
  if not at or at < now - DAY then redis.call('HDEL', KEYS[1], entries[i]) end
end
if redis.call('HEXISTS', KEYS[2], 'epoch') == 0 then return 0 end
return redis.call('HINCRBY', KEYS[2], 'version', ARGV[3])
