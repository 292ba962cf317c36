#!lua flags=allow-oom
-- Moves what waits for its time to the back of its queue, due or not, the next one first.
--
-- KEYS[1]  delayed set
-- KEYS[2]  queue
-- ARGV[1]  most messages to move
--
-- Returns how many still wait.

local most = number(1)
look(KEYS[1], 'ZRANGE', 'ZREM', 'ZCARD')
look(KEYS[2], 'LPUSH')
local waiting = read('ZRANGE', KEYS[1], 0, most - 1)
if #waiting > 0 then
  write('LPUSH', KEYS[2], unpack(waiting))
  write('ZREM', KEYS[1], unpack(waiting))
end
return answer(read('ZCARD', KEYS[1]))
