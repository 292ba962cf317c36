#!lua
-- Puts messages on their queues and counts them as received: all of them, or none when a key is another's; and once,
-- however often they are sent. Unlike the others it is refused by a full Redis.
--
-- KEYS[1]  counted-routes                 KEYS[2]  the last batch of this sender
-- KEYS[3]  onwards: totals of a route, as many as there are routes; then the list and the delayed set of each queue
-- ARGV[1]  number of the batch, which no other has; '' to see whether messages would be taken, and give none
-- ARGV[2]  for how many seconds it is remembered
-- ARGV[3]  how many routes
-- then     for each route, its name and how many messages
-- then     for each queue, how many messages and the messages
--
-- Returns how many messages wait on each queue now, also those that wait for their time or for the end of a pause.

local remember_s, last_route = number(2), 2 + number(3)
look(KEYS[1], 'SADD')
look(KEYS[2], 'SET')
local at, routes, received, queued = 4, {}, {}, {}
for index = 3, last_route do
  look_count(KEYS[index], 'received')
  routes[#routes + 1] = ARGV[at]
  received[#received + 1] = {totals = KEYS[index], amount = number(at + 1)}
  at = at + 2
end
for index = last_route + 1, #KEYS, 2 do
  local delayed = KEYS[index + 1]
  look(KEYS[index], 'LPUSH')
  local last = at + number(at)
  local later = type_of(delayed) ~= 'none' and can(delayed, 'ZCARD') and read('ZCARD', delayed) or 0
  queued[#queued + 1] = {list = KEYS[index], first = at + 1, last = last, later = later}
  at = last + 1
end

local lengths = {}
if ARGV[1] == '' or read('GET', KEYS[2]) == ARGV[1] then
  -- Or it had arrived, and the answer had not.
  for _, each in ipairs(queued) do
    lengths[#lengths + 1] = read('LLEN', each.list) + each.later
  end
  return answer(lengths)
end

write('SET', KEYS[2], ARGV[1], 'EX', remember_s)
if #routes > 0 then
  write('SADD', KEYS[1], unpack(routes))
end
for _, each in ipairs(received) do
  count(each.totals, 'received', each.amount)
end
for _, each in ipairs(queued) do
  lengths[#lengths + 1] = write('LPUSH', each.list, unpack(ARGV, each.first, each.last)) + each.later
end
return answer(lengths)
