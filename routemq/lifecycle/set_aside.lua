#!lua flags=allow-oom
-- Takes a message of a paused route, which nobody ran, out of a worker's hands, and lets it wait until it is taken up.
--
-- KEYS[1]  unacked
-- KEYS[2]  unacked_index
-- KEYS[3]  delayed set of the queue
-- KEYS[4]  its queue
-- KEYS[5]  paused routes
-- ARGV[1]  delivery tag
-- ARGV[2]  list item
-- ARGV[3]  name under which the route is paused
-- ARGV[4]  seconds that are added to the time, so that it is not due by itself
--
-- Returns 1, or 0 when the tag is not held any more; then nothing was done. When the route is not paused any more, the
-- message is back in front.

look(KEYS[1], 'HDEL')
look(KEYS[2], 'ZREM')
look(KEYS[3], 'ZADD')
look(KEYS[4], 'RPUSH')
local is_paused = can(KEYS[5], 'HGET') and read('HEXISTS', KEYS[5], ARGV[3]) == 1
local due = string.format('%.6f', clock() + number(4))
if read('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return answer(0)
end
if is_paused then
  local item = ARGV[2]
  -- Two messages of the same bytes would be one member of a set.
  while write('ZADD', KEYS[3], 'NX', due, item) == 0 do
    local later = marked(item, 0)
    if later == item then
      write('RPUSH', KEYS[4], item)
      break
    end
    item = later
  end
else
  write('RPUSH', KEYS[4], ARGV[2])
end
write('HDEL', KEYS[1], ARGV[1])
write('ZREM', KEYS[2], ARGV[1])
return answer(1)
