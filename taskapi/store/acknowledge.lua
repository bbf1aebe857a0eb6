-- Forget marks, and their tombstones, that PostgreSQL has: a step of the work.
--
-- Every mark up to `last` was read in this pass. One whose entity has changed since carries a
-- version above it, because versions only grow, and stays. So do marks above a backup's pin, and
-- those in quarantine. The last step forgets operations of an hour ago too, which nobody repeats.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: root        what all keys begin with
--                epoch, run  of the pass
--                last        the version up to which PostgreSQL has everything
--                skip        how many marks stay that steps before this one have looked at
--                limit       at most so many marks are looked at
-- Result   {1 if more follows, how many marks stay}, or {-1}: restored or restarted since, so
--          that the store is another than the one that was read
local q = cjson.decode(ARGV[1])
local epoch, run, version = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'run', 'version'))
if epoch ~= q.epoch or (run or '') ~= q.run then return { -1 } end
local dirty, tombs, quarantine = q.root .. 'dirty', q.root .. 'tombs', q.root .. 'quarantine'
local pin = redis.call('GET', q.root .. 'pin')
local last = pin and tonumber(pin) < tonumber(q.last) and pin or q.last
local has_quarantine = redis.call('EXISTS', quarantine) == 1

local function is_quarantined(mark, score)
  local entry = has_quarantine and redis.call('HGET', quarantine, mark)
  return entry and cjson.decode(entry).version == score
end

local found = redis.call('ZRANGEBYSCORE', dirty, '-inf', last, 'WITHSCORES', 'LIMIT', q.skip, q.limit)
local done, buried, kept = {}, {}, q.skip
for i = 1, #found, 2 do
  local mark, score = found[i], found[i + 1]
  if is_quarantined(mark, score) then
    kept = kept + 1
  else
    done[#done + 1] = mark
    if redis.call('ZSCORE', tombs, mark) == score then buried[#buried + 1] = mark end
  end
end
if #done > 0 then redis.call('ZREM', dirty, unpack(done)) end
if #buried > 0 then redis.call('ZREM', tombs, unpack(buried)) end
if #found == 2 * q.limit then return { 1, kept } end

redis.call('HSET', KEYS[1], 'synced', q.last)
local meta = redis.call('HGETALL', KEYS[1])
for i = 1, #meta, 2 do
  local given = string.sub(meta[i], 1, 3) == 'op:' and string.match(meta[i + 1], ' OK %S+ (%d+) ')
  if given and tonumber(given) < tonumber(version) - 3600 * 1000000 then
    redis.call('HDEL', KEYS[1], meta[i])
  end
end
return { 0, kept }
