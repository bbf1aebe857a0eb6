-- Return changes of tasks that PostgreSQL may lack: a page of the marks in order of version.
--
-- KEYS[1]  meta
-- ARGV     dirty   the sorted set of marks, <k>:<id> -> version
--          tombs   the sorted set of the marks of deleted entities
--          after   only marks above this version
--          limit   about how many marks; marks of one version are never split
--          entity  prefix of a task's key
-- Result   {installation, synced, forgotten, last version issued, version up to which marks were
--          read, 1 if more follows, ids, versions, list of the tasks' JSON: empty for a task that
--          was deleted, nil for one that cannot be read}, or false if the store is not ready
local dirty, tombs, after, limit, entity = unpack(ARGV)
local state, installation, synced, forgotten, version =
  unpack(redis.call('HMGET', KEYS[1], 'state', 'installation', 'synced', 'forgotten', 'version'))
if state ~= 'ready' then return false end
if not string.find(version or '', '^%d+$') then return false end

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

local function read(mark, id)
  local json = redis.pcall('HGET', entity .. id, 'json')
  if type(json) == 'string' then return json end
  return redis.call('ZSCORE', tombs, mark) and '' or false
end

local ids, versions, texts = {}, {}, {}
local marks, last, follows = page()
for i = 1, #marks, 2 do
  local id = string.match(marks[i], '^t:(%d+)$')
  if id then
    ids[#ids + 1], versions[#versions + 1] = id, marks[i + 1]
    texts[#texts + 1] = read(marks[i], id)
  end
end
return { installation or '', synced or '0', forgotten or '0', version, last, follows,
  table.concat(ids, ','), table.concat(versions, ','), texts }
