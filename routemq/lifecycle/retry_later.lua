#!lua flags=allow-oom
-- Takes a message out of a worker's hands and lets its next run wait, in one step.
--
-- KEYS[1]  unacked, hash: delivery tag -> record
-- KEYS[2]  unacked_index, zset: delivery tag -> time of delivery
-- KEYS[3]  delayed set of the queue, zset: list item -> due time
-- KEYS[4]  counters of the route, hash
-- KEYS[5]  routes that have counters, set
-- ARGV[1]  delivery tag
-- ARGV[2]  list item of the next run
-- ARGV[3]  delay, milliseconds
-- ARGV[4]  route
--
-- Returns 1, or 0 when the tag is not held any more; then nothing was done.

if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
local time = redis.call('TIME')
local due = time[1] + time[2] / 1000000 + ARGV[3] / 1000
redis.call('ZADD', KEYS[3], string.format('%.6f', due), ARGV[2])
redis.call('SADD', KEYS[5], ARGV[4])
redis.call('HINCRBY', KEYS[4], 'retried', 1)
return 1
