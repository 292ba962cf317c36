#!lua flags=allow-oom
-- Takes a message out of a worker's hands and lets its next run wait, in one step.
--
-- KEYS[1]  unacked
-- KEYS[2]  unacked_index
-- KEYS[3]  delayed set of the queue
-- KEYS[4]  totals of the route
-- KEYS[5]  counted-routes
-- ARGV[1]  delivery tag
-- ARGV[2]  list item of the next run
-- ARGV[3]  delay, milliseconds
-- ARGV[4]  route
--
-- Returns 1, or 0 when the tag is not held any more; then nothing was done. Totals whose key is another program's are
-- left out, and reported.

look(KEYS[1], 'HDEL')
look(KEYS[2], 'ZREM')
look(KEYS[3], 'ZADD')
local counts = can_count(KEYS[4], 'retried') and can(KEYS[5], 'SADD')
local due = string.format('%.6f', clock() + number(3) / 1000)
if write('HDEL', KEYS[1], ARGV[1]) == 0 then
  return answer(0)
end
write('ZREM', KEYS[2], ARGV[1])
write('ZADD', KEYS[3], due, ARGV[2])
if counts then
  write('SADD', KEYS[5], ARGV[4])
  count(KEYS[4], 'retried', 1)
end
return answer(1)
