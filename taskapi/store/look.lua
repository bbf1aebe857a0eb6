-- Run reads at one instant.
--
-- KEYS[1]  meta
-- ARGV[1]  JSON: commands that read
-- Result   their replies, in order; '!' for a key of the wrong type
local replies = {}
for i, command in ipairs(cjson.decode(ARGV[1])) do
  local reply = redis.pcall(unpack(command))
  if type(reply) == 'table' then reply = reply.err and '!' or reply.ok or reply end
  replies[i] = reply
end
return replies
