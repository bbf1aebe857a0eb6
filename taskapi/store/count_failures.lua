-- Add to counters of failed log-ins, which expire; allowed when Redis is full.
--
-- KEYS     the counters
-- ARGV[1]  what to add
-- ARGV[2]  seconds until a new counter expires
-- Result   the new values of the counters
local counts = {}
for i, key in ipairs(KEYS) do
  counts[i] = redis.call('INCRBY', key, ARGV[1])
  redis.call('EXPIRE', key, ARGV[2], 'NX')
end
return counts
