-- Which tasks are marked: a thousand replies less for the client to read.
--
-- KEYS[1]  meta
-- ARGV[1]  the sorted set of marks, <k>:<id> -> version
-- ARGV[2]  at most so many marks of any kind
-- Result   the tasks' ids joined by commas, or nothing where there are more marks
local found, ids = redis.call('ZRANGE', ARGV[1], 0, ARGV[2]), {}
if #found > tonumber(ARGV[2]) then return false end
for _, mark in ipairs(found) do
  if string.byte(mark) == 116 then ids[#ids + 1] = string.sub(mark, 3) end -- 116 is t
end
return table.concat(ids, ',')
