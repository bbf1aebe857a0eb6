-- Refuse writes to the tasks of a user or group for some seconds: both commands or none, because
-- without its expiry the key would refuse them for good.
--
-- KEYS[1]  closing:<k>:<id>
-- ARGV[1]  seconds
redis.call('HSET', KEYS[1], 'until', 'gone')
redis.call('EXPIRE', KEYS[1], ARGV[1])
