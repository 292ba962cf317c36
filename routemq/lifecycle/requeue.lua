#!lua flags=allow-oom
-- Puts one message that another transport's worker held back on its queues, unless its record changed meanwhile.
--
-- KEYS[1]  unacked, hash: delivery tag -> record `[message, exchange, routing key]`
-- KEYS[2]  unacked_index, zset: delivery tag -> time of delivery
-- KEYS[3]  onwards: lists to put it on
-- ARGV[1]  delivery tag
-- ARGV[2]  its record, as it was read
-- ARGV[3]  list item
--
-- Returns 1, or 0 when the record is another or gone; then nothing was done.

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
for index = 3, #KEYS do
  redis.call('LPUSH', KEYS[index], ARGV[3])
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
