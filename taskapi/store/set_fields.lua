-- Set fields of a hash; allowed when Redis is full, for state that the service cannot do without.
--
-- KEYS[1]  the hash
-- ARGV     field, value, …
return redis.call('HSET', KEYS[1], unpack(ARGV))
