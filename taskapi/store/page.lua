-- Return a page of entities by id, from the union of sorted sets, narrowed by other sets.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: sources  sorted sets of the wanted members
--                ids      more wanted ids, ascending
--                within   the member must be in one of these sorted sets; empty: no condition. If
--                         there are several, the group in the task's JSON must be one of them
--                groups   prefix of the key of a group's set
--                buckets  the wanted buckets of task sets; false for sets scored by id
--                after    only ids above this one
--                limit    the maximum number of entities
--                bytes    no more entities once their JSON has this size
--                chunk    the maximum number of candidates
--                entity   prefix of an entity's key
-- Result   {number, their JSON joined by commas, id of the last, what follows}: "end" if nothing,
--          "more" if at least one entity, else the id after which the next call looks for more
local q = cjson.decode(ARGV[1])
local BUCKET = 2 ^ 50
local call, byte, huge = redis.call, string.byte, math.huge
local entity, limit, chunk, after = q.entity, q.limit, q.chunk, tonumber(q.after)
local only, groups = #q.within == 1 and q.within[1], #q.within > 1 and {}
if groups then for _, key in ipairs(q.within) do groups[key] = true end end
local ranges, ids = {}, {} -- a heap of next ids: ids[i] <= ids[2 i] and ids[2 i + 1]

local function fetch(range)
  -- Read the next members of a range, each time twice as many.
  local members = call('ZRANGEBYSCORE', range.key, range.low, range.high, 'LIMIT', range.read, range.step)
  range.members, range.at, range.read = members, 1, range.read + #members
  range.is_cut, range.step = #members == range.step, 2 * range.step
end

local function next_id(range)
  -- Return the id of the next member. For a member that is no number it is 0, which no entity has.
  if range.is_cut and not range.members[range.at] then fetch(range) end
  return tonumber(range.members[range.at] or huge) or 0
end

local function sink(i, id)
  -- Set the next id of range i, and move the range down until the heap is in order again.
  local range, child = ranges[i], 2 * i
  local least = ids[child]
  while least do
    local other = ids[child + 1]
    if other and other < least then child, least = child + 1, other end
    if least >= id then break end
    ranges[i], ids[i] = ranges[child], least
    i, child = child, 2 * child
    least = ids[child]
  end
  ranges[i], ids[i] = range, id
end

local function read(name)
  -- Return the entity's JSON, or nothing if it is not wanted, gone or damaged: its JSON must begin
  -- with { and end with }.
  if only and not call('ZSCORE', only, name) then return end
  local json = redis.pcall('HGET', entity .. name, 'json')
  if type(json) ~= 'string' or byte(json, 1) ~= 123 or byte(json, -1) ~= 125 then return end
  if groups and not groups[q.groups .. (string.match(json, '"group_id":(%d+)') or '')] then return end
  return json
end

local function walk_the_smaller_set()
  -- The result is the intersection of both sets: read the smaller one.
  if #q.sources == 1 and only and call('ZCARD', only) < call('ZCARD', q.sources[1]) then
    q.sources, only = { only }, q.sources[1]
  end
end

local function add(range)
  ranges[#ranges + 1], ids[#ids + 1] = range, next_id(range)
end

local function open_ranges()
  local bounds = {}
  for i, bucket in ipairs(q.buckets or { 0 }) do
    local low = string.format('(%.0f', bucket * BUCKET + math.min(after, BUCKET - 1))
    bounds[i] = { low, q.buckets and string.format('(%.0f', (bucket + 1) * BUCKET) or '+inf' }
  end
  local step = math.min(chunk, math.ceil(chunk / (#q.sources * #bounds)) + 2)
  for _, key in ipairs(q.sources) do
    for _, bound in ipairs(bounds) do
      local range = { key = key, low = bound[1], high = bound[2], read = 0, step = step }
      fetch(range)
      if range.read > 0 then add(range) end
    end
  end
  add({ members = q.ids, at = 1 })
  for i = math.floor(#ids / 2), 1, -1 do sink(i, ids[i]) end
end

walk_the_smaller_set()
open_ranges()
local out, size, last, taken, looked = {}, 0, 0, after, 0
local id = ids[1]
while id < huge do
  local range = ranges[1]
  local members, at = range.members, range.at
  local name, following = members[at], members[at + 1]
  range.at = at + 1
  sink(1, following and tonumber(following) or next_id(range))
  if id > taken then -- an id in several sets comes again
    taken, looked = id, looked + 1
    local json = read(name)
    if json then
      if #out == limit or size >= q.bytes then return { #out, table.concat(out, ','), last, 'more' } end
      out[#out + 1], size, last = json, size + #json, name
    end
    if looked == chunk then return { #out, table.concat(out, ','), last, string.format('%.0f', id) } end
  end
  id = ids[1]
end
return { #out, table.concat(out, ','), last, 'end' }
