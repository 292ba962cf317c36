#!lua flags=allow-oom
-- Renews the lease of what a worker holds.
--
-- KEYS[1]  unacked_index
-- KEYS[2]  started
-- ARGV[1]  1 if the messages are running, 0 if not
-- ARGV[2]  onwards: delivery tags
--
-- Returns the tags that are not held any more.

look(KEYS[1], 'ZADD')
local marks = ARGV[1] == '1' and can(KEYS[2], 'ZADD')
local now = clock()
local lost, renewed = {}, {}
for index, score in ipairs(read('ZMSCORE', KEYS[1], unpack(ARGV, 2))) do
  local tag = ARGV[index + 1]
  if not score then
    lost[#lost + 1] = tag
  else
    renewed[#renewed + 1] = now
    renewed[#renewed + 1] = tag
  end
end
if #renewed > 0 then
  write('ZADD', KEYS[1], unpack(renewed))
  if marks then
    write('ZADD', KEYS[2], unpack(renewed))
  end
end
return answer(lost)
