-- Read entities in the order of a sorted set: the changed ones, or all of one kind.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: root   prefix of all keys
--                set    the sorted set
--                kind   the kind of its members; false: members are marks, <k>:<id> -> version
--                after  only scores above this one
--                limit  about how many; marks of one version are never split
--                bytes  stop once JSON and tokens have this size; one version is never split
--                skip   whether to skip marks in quarantine
-- Result   {last score or nothing,
--          1 if more follows,
--          {sizes of the sets of users, of groups, of tasks},
--          {list of the users' JSON, of the groups', of the tasks'},
--          {the users' [<id>,<version>] joined by commas, the groups', the tasks'},
--          list of the users' password hashes,
--          list of the users' tokens,
--          and as <k>:<id>:<version> joined by commas:
--          deletes,
--          marks with neither an entity nor a tombstone of their version,
--          keys of the wrong type,
--          members of the set whose entity is gone}
local q = cjson.decode(ARGV[1])

local function digits(text)
  -- Return the text if it is a whole number that JSON can hold, else nil; tonumber takes nan and 1e3.
  return text and #text <= 16 and string.match(text, '^[1-9]%d*$') or nil
end

-- Marks above the last version are damaged. To read them would let a pass acknowledge later changes.
local HIGHEST = not q.kind and digits(redis.call('HGET', KEYS[1], 'version')) or '+inf'
local NOUNS = { u = 'user:', g = 'group:', t = 'task:' }
local texts = { u = {}, g = {}, t = {} }
local versions = { u = {}, g = {}, t = {} }
local hashes, tokens, deleted, inconsistent, unreadable, missing = {}, {}, {}, {}, {}, {}
local size = 0

local function range(from, to, ...)
  return redis.call('ZRANGEBYSCORE', q.set, from, to, 'WITHSCORES', ...)
end

local function page()
  local entries = range('(' .. q.after, HIGHEST, 'LIMIT', 0, q.limit)
  if #entries < 2 * q.limit then return entries, 0 end
  local last = entries[#entries]
  if entries[2] == last then return range(last, last), 1 end
  while entries[#entries] == last do entries[#entries], entries[#entries - 1] = nil, nil end
  return entries, 1
end

local function pcall_value(...)
  -- Return the value, or nothing for a key of the wrong type.
  local value = redis.pcall(...)
  return (type(value) ~= 'table' or not value.err) and value
end

local function read(kind, id, mark, score)
  if not NOUNS[kind] or not string.find(id, '^%d+$') then return end
  local stored = pcall_value('HMGET', q.root .. NOUNS[kind] .. id, 'json', 'version', 'tokens')
  local json, version = stored and stored[1], stored and stored[2]
  if not stored then
    table.insert(unreadable, mark .. ':' .. score)
  elseif json and (q.kind or version == score) then
    table.insert(texts[kind], json)
    size = size + #json
    table.insert(versions[kind], '[' .. id .. ',' .. (digits(version) or '0') .. ']')
    if kind == 'u' then
      table.insert(hashes, pcall_value('GET', q.root .. 'secret:' .. id) or '')
      table.insert(tokens, stored[3] or '[]')
      size = size + #tokens[#tokens]
    end
  elseif q.kind then
    table.insert(missing, mark .. ':0')
  elseif not json and pcall_value('ZSCORE', q.root .. 'tombs', mark) == score then
    table.insert(deleted, mark .. ':' .. score)
  else
    table.insert(inconsistent, mark .. ':' .. score)
  end
end

local quarantine = q.root .. 'quarantine'
local skips = q.skip and redis.call('EXISTS', quarantine) == 1
local function is_skipped(mark, score)
  local entry = skips and redis.call('HGET', quarantine, mark)
  return entry and cjson.decode(entry).version == score
end

local entries, follows = page()
local last = ''
for i = 1, #entries, 2 do
  local member, score = entries[i], entries[i + 1]
  if size >= q.bytes and score ~= last then
    follows = 1
    break
  end
  last = score
  if q.kind then read(q.kind, member, q.kind .. ':' .. member, '0')
  elseif string.find(score, '^%d+$') and not is_skipped(member, score) then
    read(string.sub(member, 1, 1), string.sub(member, 3), member, score)
  end
end
local function joined(words) return table.concat(words, ',') end

local sizes = {}
for i, name in ipairs({ 'users', 'groups', 'tasks' }) do
  sizes[i] = pcall_value('ZCARD', q.root .. name) or -1
end
return {
  last, follows, sizes, { texts.u, texts.g, texts.t },
  { joined(versions.u), joined(versions.g), joined(versions.t) }, hashes, tokens,
  joined(deleted), joined(inconsistent), joined(unreadable), joined(missing),
}
