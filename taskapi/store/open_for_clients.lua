-- Open the store for clients after a start of the server, with versions and ids above all that any
-- process has seen.
--
-- KEYS[1]  meta
-- KEYS[2]  processes: <process> -> <run id> <time> <version> <user id> <group id> <task id>
-- ARGV[1]  run id of the server
-- ARGV[2]  1: return WAIT if a process that was active has not registered on this start yet
-- ARGV[3]  1: PostgreSQL was compared, so only missing processes can have seen more
-- ARGV[4]  ids to skip if more may have been seen
-- ARGV[5]  versions to skip then
-- ARGV[6]  new value of `remarked`: an earlier state of the server may have other marks
-- ARGV[7…] version and ids that the caller has seen
-- Result   OK, OPEN if the store was open already, BLOCKED while clients are blocked, or WAIT
--
-- If an entry of `processes` cannot be read, ids and versions are skipped.
local meta, run = KEYS[1], ARGV[1]
local RECENT = 30 -- seconds; processes register every 10
local SERVED_MOST = 2050 -- bytes: fifty run ids
local FIELDS = { 'version', 'next:u', 'next:g', 'next:t' }
local state, opened = unpack(redis.call('HMGET', meta, 'state', 'opened'))
if opened == run then return 'OPEN' end
if state ~= 'ready' then return 'BLOCKED' end

local highest, missing, newest = {}, {}, 0
for j = 1, #FIELDS do highest[j] = tonumber(ARGV[6 + j]) end
local is_hash, entries = pcall(redis.call, 'HVALS', KEYS[2])
local is_damaged = not is_hash
for _, entry in ipairs(is_hash and entries or {}) do
  local seen_run, words = string.match(entry, '^(%S*) (%d+ %d+ %d+ %d+ %d+)$')
  if words then
    local numbers = {}
    for word in string.gmatch(words, '%d+') do numbers[#numbers + 1] = tonumber(word) end
    local at = table.remove(numbers, 1)
    for j, number in ipairs(numbers) do highest[j] = math.max(highest[j], number) end
    if seen_run ~= run then
      missing[#missing + 1], newest = at, math.max(newest, at)
    end
  else
    is_damaged = true
  end
end
local count = 0
for _, at in ipairs(missing) do
  if at >= newest - RECENT then count = count + 1 end
end
if count > 0 and ARGV[2] == '1' then return 'WAIT' end

local skips = is_damaged or count > 0 or ARGV[3] ~= '1'
for i, field in ipairs(FIELDS) do
  local number = math.max(tonumber(redis.call('HGET', meta, field) or 0), highest[i])
  if skips then number = number + tonumber(i == 1 and ARGV[5] or ARGV[4]) end
  local value = string.format('%.0f', number)
  if i == 1 and value ~= redis.call('HGET', meta, field) then
    value = string.format('%.0f', number + 1) -- of changes before this version, some may be lost
    redis.call('HSET', meta, 'forgotten', value)
  end
  redis.call('HSET', meta, field, value)
end
local served = redis.call('HGET', meta, 'unconfirmed') or ''
served = string.sub(served .. ' ' .. run, -SERVED_MOST)
redis.call('HSET', meta, 'opened', run, 'unconfirmed', served, 'remarked', ARGV[6])
return 'OK'
