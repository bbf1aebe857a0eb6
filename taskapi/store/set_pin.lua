-- Set the pin of a backup; allowed when Redis is full.
--
-- KEYS[1]  the pin
-- ARGV     the further words of SET
-- Result   OK, or nothing if ARGV has NX and there is a pin already
return redis.call('SET', KEYS[1], unpack(ARGV))
