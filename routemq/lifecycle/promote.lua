#!lua flags=allow-oom
-- Moves retries that are due to the back of their queues.
--
-- KEYS     delayed set, queue; one such pair for each queue
-- ARGV[1]  most messages to move per queue
--
-- Returns the milliseconds until the next retry of any of the queues is due, or -1 when none waits. A queue whose key, or
-- whose delayed set's, is another program's is left out, and reported.

local now, most, wait = clock(), number(1), nil
for index = 1, #KEYS, 2 do
  wait = sooner(wait, move_due(KEYS[index], KEYS[index + 1], now, most))
end
return answer(wait or -1)
