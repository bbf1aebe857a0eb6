-- Read entities in the order of a sorted set: the changed ones, or all of one kind.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: root   prefix of all keys
--                set    the sorted set
--                kind   the kind of its members; false: members are marks, <k>:<id> -> version
--                after  only scores above this one
--                limit  about how many; marks of one version are never split
--                skip   whether to skip marks in quarantine
-- Result   {last score or nothing, 1 if more follows, the numbers of users, groups and tasks,
--          users' JSON joined by commas, their password hashes, groups' JSON, tasks' JSON,
--          deletes as <k>:<id>:<version> joined by commas,
--          marks with neither an entity nor a tombstone of their version, in the same form}
local q = cjson.decode(ARGV[1])
local NOUNS = { u = 'user:', g = 'group:', t = 'task:' }
local out = { u = {}, g = {}, t = {} }
local hashes, deleted, inconsistent = {}, {}, {}

local function range(from, to, ...)
  return redis.call('ZRANGEBYSCORE', q.set, from, to, 'WITHSCORES', ...)
end

local function page()
  local entries = range('(' .. q.after, '+inf', 'LIMIT', 0, q.limit)
  if #entries < 2 * q.limit then return entries, 0 end
  local last = entries[#entries]
  if entries[2] == last then return range(last, last), 1 end
  while entries[#entries] == last do entries[#entries], entries[#entries - 1] = nil, nil end
  return entries, 1
end

local function read(kind, id, member, score)
  local json, version = unpack(redis.call('HMGET', q.root .. NOUNS[kind] .. id, 'json', 'version'))
  if json and (q.kind or version == score) then
    table.insert(out[kind], json)
    if kind == 'u' then table.insert(hashes, redis.call('GET', q.root .. 'secret:' .. id) or '') end
  elseif not json and redis.call('ZSCORE', q.root .. 'tombs', member) == score then
    table.insert(deleted, member .. ':' .. score)
  elseif not q.kind then
    table.insert(inconsistent, member .. ':' .. score)
  end
end

local quarantine = q.root .. 'quarantine'
local skips = q.skip and redis.call('EXISTS', quarantine) == 1
local function is_skipped(mark, score)
  local entry = skips and redis.call('HGET', quarantine, mark)
  return entry and cjson.decode(entry).version == score
end

local entries, follows = page()
for i = 1, #entries, 2 do
  local member, score = entries[i], entries[i + 1]
  if q.kind then read(q.kind, member, member, score)
  elseif not is_skipped(member, score) then
    read(string.sub(member, 1, 1), string.sub(member, 3), member, score)
  end
end
local sizes = {}
for i, name in ipairs({ 'users', 'groups', 'tasks' }) do
  sizes[i] = redis.call('ZCARD', q.root .. name)
end
return { entries[#entries] or '', follows, sizes, table.concat(out.u, ','), hashes,
  table.concat(out.g, ','), table.concat(out.t, ','), table.concat(deleted, ','),
  table.concat(inconsistent, ',') }
