-- Do repairs, each only if what it relies on is unchanged.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: list of {guards, writes}; a guard is {command, reply as text, empty for none}, or
--          {command, SHA-1 of a reply that is not UTF-8}
-- ARGV[2]  new value of `remarked`, because repairs may set marks with old versions
-- Result   how many were done
local function holds(guards)
  for _, guard in ipairs(guards) do
    local reply = redis.pcall(unpack(guard[1]))
    if type(reply) == 'table' then reply = reply.ok end
    local text = tostring(reply or '')
    if text ~= guard[2] and redis.sha1hex(text) ~= guard[2] then return false end
  end
  return true
end

local done = 0
for _, repair in ipairs(cjson.decode(ARGV[1])) do
  if holds(repair[1]) then
    for _, command in ipairs(repair[2]) do redis.call(unpack(command)) end
    done = done + 1
  end
end
if done > 0 then redis.call('HSET', KEYS[1], 'remarked', ARGV[2]) end
return done
