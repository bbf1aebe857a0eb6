-- Close the store for clients if it was opened for another start of the server, or if the server
-- was set back to an earlier state.
--
-- KEYS[1]  meta
-- ARGV[1]  run id of the server
-- ARGV[2]  the highest version that the process has seen
local opened, version = unpack(redis.call('HMGET', KEYS[1], 'opened', 'version'))
if opened ~= ARGV[1] or (tonumber(version) or 0) < tonumber(ARGV[2]) then
  redis.call('HDEL', KEYS[1], 'opened')
end
