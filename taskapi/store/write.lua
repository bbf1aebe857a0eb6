-- Set fields of a hash, when Redis is full too: a few words that the service cannot do without.
--
-- KEYS[1]  the hash
-- ARGV     field, value, …
return redis.call('HSET', KEYS[1], unpack(ARGV))
