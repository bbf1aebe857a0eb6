-- Close the store for clients if it is open for another start of the server, or was set back.
--
-- KEYS[1]  meta
-- ARGV[1]  run id of the server
-- ARGV[2]  the highest version that the process has seen
local opened, version = unpack(redis.call('HMGET', KEYS[1], 'opened', 'version'))
if opened ~= ARGV[1] or (tonumber(version) or 0) < tonumber(ARGV[2]) then
  redis.call('HDEL', KEYS[1], 'opened')
end
