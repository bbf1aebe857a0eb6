-- Run one command, also when Redis is full: for state that the service cannot do without.
--
-- KEYS[1]  the key
-- ARGV     the command and its words after the key
-- Result   its reply
return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
