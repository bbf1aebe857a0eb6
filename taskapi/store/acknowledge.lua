-- Remove marks of changes that PostgreSQL has, and their tombstones: one step of several.
--
-- Every mark up to `last` was read in this pass. An entity that changed since has a mark above
-- `last`, because versions only grow, and the mark stays. Marks above a backup's pin and marks in
-- quarantine stay too.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: root        prefix of all keys
--                epoch, run  of the pass
--                last        the version up to which PostgreSQL has everything
--                skip        how many marks the steps before this one looked at and kept
--                limit       at most so many marks are looked at
-- Result   {1 if more follows, how many marks were kept}, or {-1} if the store was restored or
--          restarted since the pass read it
local q = cjson.decode(ARGV[1])
local epoch, run, version = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'run', 'version'))
if epoch ~= q.epoch or (run or '') ~= q.run then return { -1 } end
local dirty, tombstones, quarantine = q.root .. 'dirty', q.root .. 'tombs', q.root .. 'quarantine'
local pin = redis.call('GET', q.root .. 'pin')
local last = pin and tonumber(pin) < tonumber(q.last) and pin or q.last
local has_quarantine = redis.call('EXISTS', quarantine) == 1

local function is_quarantined(mark, score)
  local entry = has_quarantine and redis.call('HGET', quarantine, mark)
  return entry and cjson.decode(entry).version == score
end

local function remove_old_operations()
  -- An operation of an hour ago is never repeated.
  local meta = redis.call('HGETALL', KEYS[1])
  for i = 1, #meta, 2 do
    local at = string.sub(meta[i], 1, 3) == 'op:' and string.match(meta[i + 1], ' OK %S+ (%d+) ')
    if at and tonumber(at) < tonumber(version) - 3600 * 1000000 then
      redis.call('HDEL', KEYS[1], meta[i])
    end
  end
end

local found = redis.call('ZRANGEBYSCORE', dirty, '-inf', last, 'WITHSCORES', 'LIMIT', q.skip, q.limit)
local done, buried, kept = {}, {}, q.skip
for i = 1, #found, 2 do
  local mark, score = found[i], found[i + 1]
  if is_quarantined(mark, score) then
    kept = kept + 1
  else
    done[#done + 1] = mark
    if redis.call('ZSCORE', tombstones, mark) == score then buried[#buried + 1] = mark end
  end
end
if #done > 0 then redis.call('ZREM', dirty, unpack(done)) end
if #buried > 0 then redis.call('ZREM', tombstones, unpack(buried)) end
if #found == 2 * q.limit then return { 1, kept } end

redis.call('HSET', KEYS[1], 'synced', q.last)
remove_old_operations()
return { 0, kept }
