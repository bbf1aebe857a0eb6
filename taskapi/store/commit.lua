-- One commit: everything it says, or nothing.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: epoch     the epoch that the request read first
--                op, n     field of meta that remembers the caller's last operation; its number
--                guards    [key, field, value]: the hash field has that value; false: is absent;
--                          true: is there. [key, false, n]: the sorted set has n members
--                next      field of meta that counts the ids of what is created, or false
--                commands  Redis commands; NUL and a letter stand for what is known only here:
--                          i new id, v version, t time, 0-5 the new id's score in that bucket
-- Result   "OK <id> <version> <time>", or a word that says why nothing was done:
--          NOEPOCH empty store, RESTORING / FENCED no writes now, EPOCH restored since,
--          STALE a later operation of this caller is done, CONFLICT a guard does not hold
local meta, c = KEYS[1], cjson.decode(ARGV[1])
local BUCKET = 2 ^ 50

local function civil(seconds)
  -- Days to year, month, day in the proleptic Gregorian calendar, years beginning in March.
  local z = math.floor(seconds / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
    - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local rest = seconds % 86400
  return string.format('%04d-%02d-%02dT%02d:%02d:%02dZ', year, month,
    doy - math.floor((153 * mp + 2) / 5) + 1,
    math.floor(rest / 3600), math.floor(rest % 3600 / 60), rest % 60)
end

local function holds(guard)
  local key, field, want = guard[1], guard[2], guard[3]
  if not field then return redis.call('ZCARD', key) == want end
  local is = redis.call('HGET', key, field)
  if want == true then return is ~= false end
  return is == want
end

local epoch, state, last, done = unpack(redis.call('HMGET', meta, 'epoch', 'state', 'version', c.op))
if not epoch then return 'NOEPOCH' end
if state ~= 'ready' then return string.upper(state) end
if done then
  local n, result = string.match(done, '^(%d+) (.*)$')
  if tonumber(n) == c.n then return result end
  if tonumber(n) > c.n then return 'STALE' end
end
if epoch ~= c.epoch then return 'EPOCH' end
for _, guard in ipairs(c.guards) do
  if not holds(guard) then return 'CONFLICT' end
end

local now = redis.call('TIME')
local version = string.format('%.0f', math.max(tonumber(last or 0) + 1, now[1] * 1000000 + now[2]))
local slots = { v = version, t = civil(tonumber(now[1])), i = '0' }
if c.next then
  local id = redis.call('HINCRBY', meta, c.next, 1)
  slots.i = string.format('%.0f', id)
  setmetatable(slots, { __index = function(_, bucket)
    return string.format('%.0f', bucket * BUCKET + id)
  end })
end
local find = string.find
for _, command in ipairs(c.commands) do
  for i = 2, #command do
    if find(command[i], '\0', 1, true) then
      command[i] = string.gsub(command[i], '%z(.)', slots)
    end
  end
  redis.call(unpack(command))
end
local result = 'OK ' .. slots.i .. ' ' .. version .. ' ' .. slots.t
redis.call('HSET', meta, 'version', version, c.op, string.format('%.0f', c.n) .. ' ' .. result)
return result
