-- Add to counters of failed log-ins, which expire; allowed when Redis is full. A counter that
-- cannot be read is reset.
--
-- KEYS     the counters
-- ARGV[1]  what to add
-- ARGV[2]  seconds until a new counter expires
-- Result   the new values of the counters
local counts = {}
for i, key in ipairs(KEYS) do
  local count = redis.pcall('INCRBY', key, ARGV[1])
  if type(count) == 'table' then
    redis.call('UNLINK', key)
    count = redis.call('INCRBY', key, ARGV[1])
  end
  counts[i] = count
  redis.call('EXPIRE', key, ARGV[2], 'NX')
end
return counts
