-- A page of entities in order of id, from the union of sorted sets, narrowed by others.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: sources  sorted sets whose members are wanted
--                ids      ids wanted besides, whatever the sets say
--                within   sorted sets of which one must have the member too; empty: no narrowing
--                buckets  which buckets of a task set; false for sets scored by id
--                after    only ids above this one
--                limit    at most so many entities
--                chunk    at most so many candidates looked at in each range
--                entity   the key of an entity without its id
-- Result   {number, their JSON joined by commas, id of the last, what follows}:
--          "end" nothing, "more" at least one, otherwise the id to go on after
local q = cjson.decode(ARGV[1])
local BUCKET = 2 ^ 50
local after = tonumber(q.after)
local horizon, seen, ids = math.huge, {}, {}

local function add(id)
  if id > after and not seen[id] then
    seen[id] = true
    ids[#ids + 1] = id
  end
end

local function collect(key, low, high)
  local found = redis.call('ZRANGEBYSCORE', key, low, high, 'LIMIT', 0, q.chunk)
  for _, member in ipairs(found) do add(tonumber(member)) end
  if #found == q.chunk then horizon = math.min(horizon, tonumber(found[#found])) end
end

local function is_within(id)
  for _, key in ipairs(q.within) do
    if redis.call('ZSCORE', key, id) then return true end
  end
  return #q.within == 0
end

if #q.sources == 1 and #q.within == 1
    and redis.call('ZCARD', q.within[1]) < redis.call('ZCARD', q.sources[1]) then
  q.sources, q.within = q.within, q.sources
end
for _, key in ipairs(q.sources) do
  for _, bucket in ipairs(q.buckets or { 0 }) do
    local low = string.format('(%.0f', bucket * BUCKET + math.min(after, BUCKET - 1))
    local high = q.buckets and string.format('(%.0f', (bucket + 1) * BUCKET) or '+inf'
    collect(key, low, high)
  end
end
for _, id in ipairs(q.ids) do add(tonumber(id)) end
table.sort(ids)

local out, last = {}, 0
for _, id in ipairs(ids) do
  if id > horizon then break end
  local name = string.format('%.0f', id)
  local json = is_within(name) and redis.call('HGET', q.entity .. name, 'json')
  if json then
    if #out == q.limit then return { #out, table.concat(out, ','), last, 'more' } end
    out[#out + 1] = json
    last = name
  end
end
local follows = horizon < math.huge and string.format('%.0f', horizon) or 'end'
return { #out, table.concat(out, ','), last, follows }
