-- Run one commit: all of it or nothing.
--
-- KEYS[1]  meta
-- ARGV     epoch       the epoch that the request read first
--          run         run id of the server that the request read
--          seen        the highest version that the process has seen: a server with a lower one was
--                      set back; the store is closed until it is checked, as after a start
--          op, number  field of meta with the last operation of this thread; the number of this one
--          next        field of meta that counts the ids of the created kind, or empty
--          guards      number of guards, and for each: key, field, condition. With a field of a
--                      hash: =<value>; + it exists; - it is absent. Without a field: =<size> of a
--                      sorted set; - the key is absent; ?<value> a string is absent or has it
--          commands    for each Redis command: number of its words, words. A NUL and a letter are a
--                      placeholder: i the new id, v the version, t the time, 0 to 5 the new id's
--                      score in that bucket
-- Result   "OK <id> <version> <time>", or why nothing was written: NOEPOCH empty store, RESTORING
--          or FENCED no writes now, STALE this thread has done a later operation, EPOCH restored
--          since, CHECKING not checked since a start of the server, CONFLICT a guard does not hold
local meta = KEYS[1]
local read_epoch, run, seen, op, number, next_field = unpack(ARGV, 1, 6)
number = tonumber(number)
local GUARDS = 8 -- index of the first one
local COMMANDS = GUARDS + 3 * tonumber(ARGV[GUARDS - 1])
local BUCKET = 2 ^ 50

local function timestamp(seconds)
  -- RFC 3339 in UTC. Source: "days to civil" in Howard Hinnant's "chrono-Compatible Low-Level Date
  -- Algorithms"; its years begin in March.
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

local function holds(key, field, condition)
  if field == '' and condition == '-' then return redis.call('EXISTS', key) == 0 end
  if string.sub(condition, 1, 1) == '?' then
    local text = redis.call('GET', key)
    return not text or '?' .. text == condition
  end
  if field == '' then return '=' .. redis.call('ZCARD', key) == condition end
  local stored = redis.call('HGET', key, field)
  if not stored then return condition == '-' end
  return condition == '+' or '=' .. stored == condition
end

local function refusal()
  -- Return the error that a command would meet, or raise it for a key of the wrong type. This comes
  -- before the first write, because Lua has no rollback. Guards have checked the keys of entities.
  local call, at, permitted = redis.call, COMMANDS, {}
  while at < #ARGV do
    local name, key, field = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    if not permitted[name] then
      if not redis.acl_check_cmd(name, key) then return 'NOPERM ' .. name end
      permitted[name] = true
    end
    if name == 'HINCRBY' then
      local count = call('HGET', key, field)
      if count and not string.find(count, '^-?%d+$') then return 'ERR ' .. key .. ' is not an integer' end
    elseif name == 'ZADD' or name == 'ZREM' then
      call('ZCARD', key)
    elseif (name == 'HSET' or name == 'HDEL') and field ~= 'json' then
      call('HLEN', key)
    end
    at = at + 1 + tonumber(ARGV[at])
  end
end

local epoch, state, opened, last, done =
  unpack(redis.call('HMGET', meta, 'epoch', 'state', 'opened', 'version', op))
if not epoch then return 'NOEPOCH' end
if state ~= 'ready' then return string.upper(state) end
if done then
  local n, result = string.match(done, '^(%d+) (.*)$')
  if tonumber(n) == number then return result end
  if tonumber(n) > number then return 'STALE' end
end
if epoch ~= read_epoch then return 'EPOCH' end
if opened ~= run then return 'CHECKING' end
if #(last or '') > 16 or not string.find(last or '0', '^%d+$') then
  return redis.error_reply('ERR version is not an integer')
end
if tonumber(last or 0) < tonumber(seen) then
  redis.call('HDEL', meta, 'opened')
  return 'CHECKING'
end
for i = GUARDS, COMMANDS - 1, 3 do
  if not holds(ARGV[i], ARGV[i + 1], ARGV[i + 2]) then return 'CONFLICT' end
end

local refused = refusal()
if refused then return redis.error_reply(refused) end

local now = redis.call('TIME')
local version = string.format('%.0f', math.max(tonumber(last or 0) + 1, now[1] * 1000000 + now[2]))
local values = { v = version, t = timestamp(tonumber(now[1])), i = '0' }
if next_field ~= '' then
  local id = redis.call('HINCRBY', meta, next_field, 1)
  values.i = string.format('%.0f', id)
  for bucket = 0, 5 do values[tostring(bucket)] = string.format('%.0f', bucket * BUCKET + id) end
end

local call, find, sub, gsub = redis.call, string.find, string.sub, string.gsub
local at = COMMANDS
while at < #ARGV do
  local first, last = at + 1, at + tonumber(ARGV[at])
  for i = first + 1, last do
    local from = find(ARGV[i], '\0', 1, true) -- ten times as fast as a search for a pattern
    if from then ARGV[i] = sub(ARGV[i], 1, from - 1) .. gsub(sub(ARGV[i], from), '%z(.)', values) end
  end
  call(unpack(ARGV, first, last))
  at = last + 1
end
local result = 'OK ' .. values.i .. ' ' .. version .. ' ' .. values.t
redis.call('HSET', meta, 'version', version, op, ARGV[5] .. ' ' .. result)
return result
