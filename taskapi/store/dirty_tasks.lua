-- Return tasks that are marked dirty, with their JSON: a page of the marks in order of version.
--
-- KEYS[1]  meta
-- ARGV     dirty   the sorted set of marks, <k>:<id> -> version
--          after   only marks above this version
--          limit   about how many marks; marks of one version are never split
--          most    the maximum number of marks, of all kinds together
--          entity  prefix of a task's key
-- Result   {installation, synced, remarked, version up to which marks were read, 1 if more follows,
--          ids joined by commas, list of their JSON, empty for a task that is gone or damaged}, or
--          false if the store is not ready, has too many marks, or has marks above its last version
local dirty, after, limit, most, entity = unpack(ARGV)
local byte = string.byte
local state, installation, synced, remarked, version =
  unpack(redis.call('HMGET', KEYS[1], 'state', 'installation', 'synced', 'remarked', 'version'))
if state ~= 'ready' or not string.find(version or '', '^%d+$') then return false end
if redis.call('ZCARD', dirty) > tonumber(most) then return false end
if redis.call('ZCOUNT', dirty, '(' .. version, '+inf') > 0 then return false end

local function range(from, to, ...)
  return redis.call('ZRANGEBYSCORE', dirty, from, to, 'WITHSCORES', ...)
end

local function page()
  local marks = range('(' .. after, version, 'LIMIT', 0, limit)
  if #marks < 2 * tonumber(limit) then return marks, version, 0 end
  local last = marks[#marks]
  if marks[2] == last then return range(last, last), last, 1 end
  while marks[#marks] == last do marks[#marks], marks[#marks - 1] = nil, nil end
  return marks, marks[#marks], 1
end

local function read(id)
  local json = redis.pcall('HGET', entity .. id, 'json')
  local is_whole = type(json) == 'string' and byte(json, 1) == 123 and byte(json, -1) == 125
  return is_whole and json or ''
end

local ids, texts = {}, {}
local marks, last, follows = page()
for i = 1, #marks, 2 do
  local id = string.match(marks[i], '^t:(%d+)$')
  if id then ids[#ids + 1], texts[#texts + 1] = id, read(id) end
end
return { installation or '', synced or '0', remarked or '', last, follows, table.concat(ids, ','), texts }
