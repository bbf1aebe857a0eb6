-- Check the server at the other end of a new connection. A server that was restarted, or replaced
-- by another one, may have lost the last changes that it acknowledged. In that case the script skips
-- ids and versions, so that none is issued twice.
--
-- KEYS[1]  meta
-- ARGV[1]  run id of the server
-- ARGV[2]  "safe" if the server keeps everything that it acknowledged, else "unsafe"
-- ARGV[3]  how many ids to skip
-- ARGV[4]  how many versions to skip
-- Result   OK, or WAIT: the caller must wait until the skip is on disk, and then set `run`
local run_id, safety = ARGV[1], ARGV[2]
local known, skipped_for = unpack(redis.call('HMGET', KEYS[1], 'run', 'raised'))
local run = run_id .. ' ' .. safety
if known == run or redis.call('EXISTS', KEYS[1]) == 0 then return 'OK' end
local known_id, known_safety = string.match(known or run, '^(%S+) (%S+)$')
if run_id == known_id or (known_safety == 'safe' and safety == 'safe') then
  redis.call('HSET', KEYS[1], 'run', run)
  return 'OK'
end
if skipped_for ~= run_id then
  redis.call('HSET', KEYS[1], 'raised', run_id)
  redis.call('HDEL', KEYS[1], 'loader')
  for _, kind in ipairs({ 'u', 'g', 't' }) do
    redis.call('HINCRBY', KEYS[1], 'next:' .. kind, ARGV[3])
  end
  redis.call('HINCRBY', KEYS[1], 'version', ARGV[4])
end
return 'WAIT'
