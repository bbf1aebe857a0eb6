-- Close the store for clients if it is open for another start of the server.
--
-- KEYS[1]  meta
-- ARGV[1]  run id of the server
if redis.call('HGET', KEYS[1], 'opened') ~= ARGV[1] then redis.call('HDEL', KEYS[1], 'opened') end
