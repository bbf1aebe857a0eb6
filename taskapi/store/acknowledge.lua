-- Remove marks of changes that PostgreSQL has, and their tombstones: one batch of them.
--
-- Every mark up to `last` was read in this pass. An entity that changed since has a mark above
-- `last`, because versions only grow, and the mark stays. Marks above a backup's pin and marks in
-- quarantine stay too.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: root        prefix of all keys
--                epoch, opened  as the pass read them
--                last        the version up to which PostgreSQL has everything
--                skip        how many marks the batches before this one kept
--                limit       how many marks to look at, at most
-- Result   {1 if more follows, how many marks were kept}, or {-1, 0} if the store was restored or
--          restarted since the pass read it
local q = cjson.decode(ARGV[1])
local epoch, opened, version, synced =
  unpack(redis.call('HMGET', KEYS[1], 'epoch', 'opened', 'version', 'synced'))
if epoch ~= q.epoch or opened ~= q.opened then return { -1, 0 } end
local dirty, tombstones, quarantine = q.root .. 'dirty', q.root .. 'tombs', q.root .. 'quarantine'
local pin = redis.call('GET', q.root .. 'pin')
local has_pin = pin and string.find(pin, '^%d+$') -- the key may be damaged
local last = has_pin and tonumber(pin) < tonumber(q.last) and pin or q.last
local has_quarantine = redis.call('EXISTS', quarantine) == 1

local function is_quarantined(mark, score)
  local entry = has_quarantine and redis.call('HGET', quarantine, mark)
  return entry and cjson.decode(entry).version == score
end

local function remove_old_operations()
  -- Remove operations older than an hour, except those of registered processes, which may be waiting
  -- for a reply: if the clock jumps ahead, an operation of just now looks old.
  local processes = q.root .. 'processes'
  local has_processes = redis.call('TYPE', processes).ok == 'hash' -- the key may be damaged
  local time = redis.call('TIME')
  local now = math.max(tonumber(version or 0), time[1] * 1000000 + time[2])
  local meta = redis.call('HGETALL', KEYS[1])
  for i = 1, #meta, 2 do
    local process = string.match(meta[i], '^op:([^.]+)')
    local at = process and string.match(meta[i + 1], ' OK %S+ (%d+) ')
    if at and tonumber(at) < now - 3600 * 1000000
      and not (has_processes and redis.call('HEXISTS', processes, process) == 1) then
      redis.call('HDEL', KEYS[1], meta[i])
    end
  end
end

-- Before the first mark is removed: PostgreSQL has all that is not marked up to `synced`.
if tonumber(q.last) > tonumber(synced or 0) then redis.call('HSET', KEYS[1], 'synced', q.last) end

local marks = redis.call('ZRANGEBYSCORE', dirty, '-inf', last, 'WITHSCORES', 'LIMIT', q.skip, q.limit)
local done, deletes, kept = {}, {}, q.skip
local has_tombstones = redis.call('TYPE', tombstones).ok == 'zset' -- the key may be damaged
for i = 1, #marks, 2 do
  local mark, score = marks[i], marks[i + 1]
  if is_quarantined(mark, score) then
    kept = kept + 1
  else
    done[#done + 1] = mark
    local is_delete = has_tombstones and redis.call('ZSCORE', tombstones, mark) == score
    if is_delete then deletes[#deletes + 1] = mark end
  end
end
if #done > 0 then redis.call('ZREM', dirty, unpack(done)) end
if #deletes > 0 then redis.call('ZREM', tombstones, unpack(deletes)) end
if #marks == 2 * q.limit then return { 1, kept } end

remove_old_operations()
return { 0, kept }
