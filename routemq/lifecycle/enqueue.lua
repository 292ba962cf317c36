#!lua
-- Puts messages on their queues and counts them as received: all of them, or none when a key is another's; and once,
-- however often they are sent.
--
-- KEYS[1]  counted-routes, set: the routes that have totals
-- KEYS[2]  the last batch of this ingest process, string
-- KEYS[3]  onwards: totals of a route, hash; as many as there are routes
-- then     queues, lists
-- ARGV[1]  number of the batch, which no other has; '' to see whether messages would be taken, and give none
-- ARGV[2]  for how many seconds it is remembered
-- ARGV[3]  how many routes
-- then     for each route, its name and how many messages
-- then     for each queue, how many messages and the messages
--
-- Returns how long each queue is now.

local remember_s, routes = number(2), number(3)
look(KEYS[1], 'SADD')
look(KEYS[2], 'SET')
for index = 3, routes + 2 do
  look_count(KEYS[index], 'received')
end
for index = routes + 3, #KEYS do
  look(KEYS[index], 'LPUSH')
end

local lengths = {}
if ARGV[1] == '' or read('GET', KEYS[2]) == ARGV[1] then
  -- Or it had arrived, and the answer had not.
  for index = routes + 3, #KEYS do
    lengths[#lengths + 1] = read('LLEN', KEYS[index])
  end
  return answer(lengths)
end

write('SET', KEYS[2], ARGV[1], 'EX', remember_s)
local at = 4
for index = 3, routes + 2 do
  write('SADD', KEYS[1], ARGV[at])
  count(KEYS[index], 'received', ARGV[at + 1])
  at = at + 2
end
for index = routes + 3, #KEYS do
  local last = at + ARGV[at]
  lengths[#lengths + 1] = write('LPUSH', KEYS[index], unpack(ARGV, at + 1, last))
  at = last + 1
end
return answer(lengths)
