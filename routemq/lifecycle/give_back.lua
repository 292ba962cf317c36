#!lua flags=allow-oom
-- Takes a message that nobody ran out of a worker's hands, and lets it wait for the next one.
--
-- KEYS[1]  unacked
-- KEYS[2]  unacked_index
-- KEYS[3]  delayed set of the queue
-- KEYS[4]  its queue
-- ARGV[1]  delivery tag
-- ARGV[2]  list item
-- ARGV[3]  delay, milliseconds
--
-- Returns 1, or 0 when the tag is not held any more; then nothing was done.

look(KEYS[1], 'HDEL')
look(KEYS[2], 'ZREM')
look(KEYS[3], 'ZADD')
look(KEYS[4], 'LPUSH')
local due = string.format('%.6f', clock() + number(3) / 1000)
if write('HDEL', KEYS[1], ARGV[1]) == 0 then
  return answer(0)
end
write('ZREM', KEYS[2], ARGV[1])
-- Two messages of the same bytes are one member of a set: the second goes to the list.
if write('ZADD', KEYS[3], 'NX', due, ARGV[2]) == 0 then
  write('LPUSH', KEYS[4], ARGV[2])
end
return answer(1)
