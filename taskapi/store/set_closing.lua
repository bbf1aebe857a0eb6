-- Refuse writes to the tasks of a user or group for some seconds. A script runs both commands or
-- none: a key without expiry would refuse them for ever.
--
-- KEYS[1]  closing:<k>:<id>
-- ARGV[1]  seconds
redis.call('HSET', KEYS[1], 'until', 'gone')
redis.call('EXPIRE', KEYS[1], ARGV[1])
