-- Forget marks and tombstones that PostgreSQL has.
--
-- Every mark in the range was read in this pass. One whose entity has changed since carries a
-- version above the range, because versions only grow, and stays. Marks above a backup's pin stay.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: root    what all keys begin with
--                epoch   the epoch of the pass
--                after, last  the range of versions: above the first, up to the second
--                keep    marks that PostgreSQL did not get
-- Result   OK, or EPOCH: the store was restored since, nothing was done
local q = cjson.decode(ARGV[1])
if redis.call('HGET', KEYS[1], 'epoch') ~= q.epoch then return 'EPOCH' end
local pin = redis.call('GET', q.root .. 'pin')
local last = pin and tonumber(pin) < tonumber(q.last) and pin or q.last

for _, name in ipairs({ 'dirty', 'tombs' }) do
  local key, kept = q.root .. name, {}
  for _, member in ipairs(q.keep) do
    kept[member] = redis.call('ZSCORE', key, member) or nil
  end
  redis.call('ZREMRANGEBYSCORE', key, '(' .. q.after, last)
  for member, score in pairs(kept) do redis.call('ZADD', key, score, member) end
end
redis.call('HSET', KEYS[1], 'synced', q.last)
return 'OK'
