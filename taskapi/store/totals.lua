-- Count the entities of each kind in every key that has all of them, at one instant.
--
-- KEYS     users, emails, full_names, groups, names, tasks, counts
-- Result   the sizes of the first six; the sum of counts
local tasks = 0
for _, number in ipairs(redis.call('HVALS', KEYS[7])) do tasks = tasks + (tonumber(number) or 0) end
return {
  redis.call('ZCARD', KEYS[1]), redis.call('HLEN', KEYS[2]), redis.call('HLEN', KEYS[3]),
  redis.call('ZCARD', KEYS[4]), redis.call('HLEN', KEYS[5]),
  redis.call('ZCARD', KEYS[6]), tasks,
}
