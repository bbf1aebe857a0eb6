-- Return a page of entities by id, from the union of sorted sets, narrowed by other sets.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: sources  sorted sets of the wanted members
--                ids      more wanted ids, ascending
--                within   the member must be in one of these sorted sets; empty: no condition
--                buckets  the wanted buckets of task sets; false for sets scored by id
--                after    only ids above this one
--                limit    the maximum number of entities
--                chunk    the maximum number of candidates read from each range
--                entity   prefix of an entity's key
-- Result   {number, their JSON joined by commas, id of the last, what follows}: "end" if nothing,
--          "more" if at least one entity, else the id after which the next call looks for more
local q = cjson.decode(ARGV[1])
local BUCKET = 2 ^ 50
local byte = string.byte
local MERGED_MOST = 24
local entity, limit, is_narrowed = q.entity, q.limit, #q.within > 0
local after = tonumber(q.after)
-- The id of a member that is no number is 0, which no entity has.
local lists = {}
local horizon = math.huge -- above this id, a range that was cut may have more members

local function add(members)
  if #members > 0 then
    lists[#lists + 1] = { members = members, at = 1, id = tonumber(members[1]) or 0 }
  end
end

local function collect(key, low, high)
  local members = redis.call('ZRANGEBYSCORE', key, low, high, 'LIMIT', 0, q.chunk)
  add(members)
  if #members == q.chunk then horizon = math.min(horizon, tonumber(members[#members])) end
end

local function take()
  -- Remove and return the lowest id of all lists; an id in several lists is returned again.
  local lowest, id = lists[1], lists[1].id
  for i = 2, #lists do
    local list = lists[i]
    if list.id < id then lowest, id = list, list.id end
  end
  local members, at = lowest.members, lowest.at + 1
  lowest.at, lowest.id = at, tonumber(members[at] or math.huge) or 0
  return id, members[at - 1]
end

local function is_within(name)
  for _, key in ipairs(q.within) do
    if redis.call('ZSCORE', key, name) then return true end
  end
  return false
end

local function read(name)
  -- Return the entity's JSON, or nothing if it is gone or damaged; its first and last byte tell.
  local json = redis.pcall('HGET', entity .. name, 'json')
  if type(json) == 'string' and byte(json, 1) == 123 and byte(json, -1) == 125 then return json end
end

local function walk_the_smaller_set()
  -- The result is the intersection of both sets: read the smaller one.
  if #q.sources == 1 and #q.within == 1
      and redis.call('ZCARD', q.within[1]) < redis.call('ZCARD', q.sources[1]) then
    q.sources, q.within = q.within, q.sources
  end
end

walk_the_smaller_set()
for _, key in ipairs(q.sources) do
  for _, bucket in ipairs(q.buckets or { 0 }) do
    local low = string.format('(%.0f', bucket * BUCKET + math.min(after, BUCKET - 1))
    local high = q.buckets and string.format('(%.0f', (bucket + 1) * BUCKET) or '+inf'
    collect(key, low, high)
  end
end
add(q.ids)

if #lists > MERGED_MOST then
  -- A merge compares all lists for each entity: with many lists, sorting costs less.
  local names, all = {}, {}
  for _, list in ipairs(lists) do
    for _, name in ipairs(list.members) do
      local id = tonumber(name) or 0
      if not names[id] then names[id], all[#all + 1] = name, id end
    end
  end
  table.sort(all)
  for i, id in ipairs(all) do all[i] = names[id] end
  lists = {}
  add(all)
end

local out, last, taken = {}, 0, after
local id, name
if #lists > 0 then id, name = take() end
while name and id <= horizon do
  local is_wanted = id > taken and (not is_narrowed or is_within(name))
  if id > taken then taken = id end
  local json = is_wanted and read(name)
  if json then
    if #out == limit then return { #out, table.concat(out, ','), last, 'more' } end
    out[#out + 1] = json
    last = name
  end
  id, name = take()
end
local follows = horizon < math.huge and string.format('%.0f', horizon) or 'end'
return { #out, table.concat(out, ','), last, follows }
