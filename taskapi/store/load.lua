-- Load one batch of a restore: each batch once, in order, and only for the current restore.
--
-- KEYS[1]  meta
-- ARGV[1]  token of the restore
-- ARGV[2]  number of the batch, from 1
-- ARGV[3]  JSON: Redis commands
-- Result   OK, or LOST: another restore has started since, or Redis lost an earlier batch
local state, loader, done = unpack(redis.call('HMGET', KEYS[1], 'state', 'loader', 'loaded'))
if loader ~= ARGV[1] then return 'LOST' end
if tonumber(done) >= tonumber(ARGV[2]) then return 'OK' end
if state ~= 'restoring' or tonumber(done) + 1 < tonumber(ARGV[2]) then return 'LOST' end
redis.call('HSET', KEYS[1], 'loaded', ARGV[2])
for _, command in ipairs(cjson.decode(ARGV[3])) do redis.call(unpack(command)) end
return 'OK'
