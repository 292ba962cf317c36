#!lua flags=allow-oom
-- Forgets messages that are done. What is not held any more is left alone.
--
-- KEYS[1]  unacked, hash: delivery tag -> record
-- KEYS[2]  unacked_index, zset: delivery tag -> time of delivery
-- KEYS[3]  started, zset: delivery tag -> when it was seen running
-- ARGV     delivery tags
--
-- Returns how many were held.

redis.call('ZREM', KEYS[2], unpack(ARGV))
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('ZREM', KEYS[3], unpack(ARGV))
end
return redis.call('HDEL', KEYS[1], unpack(ARGV))
