-- Find members of a set of tasks whose task does not have a certain text in its JSON.
--
-- KEYS[1]  the sorted set
-- ARGV     cursor of ZSCAN, number of members, prefix of the tasks' keys, the text
-- Result   {next cursor, the members and their scores}; none for a key of the wrong type
local page = redis.pcall('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
if page.err then return { '0', {} } end
local strays, members = {}, page[2]
for i = 1, #members, 2 do
  local json = redis.pcall('HGET', ARGV[3] .. members[i], 'json')
  if type(json) ~= 'string' or not string.find(json, ARGV[4], 1, true) then
    strays[#strays + 1] = members[i]
    strays[#strays + 1] = members[i + 1]
  end
end
return { page[1], strays }
