-- A connection has come to a server. One that has restarted, or stands in for another, may have
-- lost the last of what it acknowledged: then ids and versions go on well above what it knows. That
-- has to be on its disk before any is given out, so the caller waits, and then sets `run`.
--
-- KEYS[1]  meta
-- ARGV[1]  "<run id> safe" where the server keeps all it acknowledged, else "<run id> unsafe"
-- ARGV[2]  how many ids to leave out
-- ARGV[3]  how many versions to leave out
-- Result   WAIT, or OK
local known, raised = unpack(redis.call('HMGET', KEYS[1], 'run', 'raised'))
if known == ARGV[1] or redis.call('EXISTS', KEYS[1]) == 0 then return 'OK' end
local function words(text) return string.match(text, '^(%S+) (%S+)$') end
local old_id, old_safety = words(known or ARGV[1])
local id, safety = words(ARGV[1])
if id == old_id or (old_safety == 'safe' and safety == 'safe') then
  redis.call('HSET', KEYS[1], 'run', ARGV[1])
  return 'OK'
end
if raised ~= id then
  redis.call('HSET', KEYS[1], 'raised', id)
  redis.call('HDEL', KEYS[1], 'loader')
  for _, kind in ipairs({ 'u', 'g', 't' }) do
    redis.call('HINCRBY', KEYS[1], 'next:' .. kind, ARGV[2])
  end
  redis.call('HINCRBY', KEYS[1], 'version', ARGV[3])
end
return 'WAIT'
