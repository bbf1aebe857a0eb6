-- Run one command on a string, if it is absent or has the expected value.
--
-- KEYS[1]  the key
-- ARGV     the expected value; the command and its words after the key
-- Result   its reply, or false
local stored = redis.call('GET', KEYS[1])
if stored and stored ~= ARGV[1] then return false end
return redis.call(ARGV[2], KEYS[1], unpack(ARGV, 3))
