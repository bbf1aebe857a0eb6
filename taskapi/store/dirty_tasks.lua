-- Return the ids of the tasks that are marked dirty, and what PostgreSQL has of all others.
--
-- KEYS[1]  meta
-- ARGV[1]  the sorted set of marks, <k>:<id> -> version
-- ARGV[2]  the maximum number of marks of any kind
-- Result   the ids joined by commas, installation, synced; or false if there are more marks
local marks, ids = redis.call('ZRANGE', ARGV[1], 0, ARGV[2]), {}
if #marks > tonumber(ARGV[2]) then return false end
for _, mark in ipairs(marks) do
  ids[#ids + 1] = string.match(mark, '^t:(%d+)$')
end
local about = redis.call('HMGET', KEYS[1], 'installation', 'synced')
return {table.concat(ids, ','), about[1] or '', about[2] or '0'}
