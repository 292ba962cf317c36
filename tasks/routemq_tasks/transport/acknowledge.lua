#!lua flags=allow-oom
-- Forgets messages that are done, and counts those of routes. What is not held any more is left alone, and not counted.
--
-- KEYS[1]  unacked, hash: delivery tag -> record
-- KEYS[2]  unacked_index, zset: delivery tag -> time of delivery
-- KEYS[3]  started, zset: delivery tag -> when it was seen running
-- KEYS[4]  counted-routes, set: the routes that have totals
-- KEYS[5]  onwards: totals of a route, hash
-- ARGV[1]  onwards: for each key of totals, the route, and how many delivery tags are its
-- then     delivery tags, in the order of the routes; after them those that are not counted
--
-- Returns how many were held.

local first = 2 * (#KEYS - 4) + 1
redis.call('ZREM', KEYS[2], unpack(ARGV, first))
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('ZREM', KEYS[3], unpack(ARGV, first))
end
local held = 0
for index = 5, #KEYS do
  local route, count = ARGV[2 * (index - 4) - 1], ARGV[2 * (index - 4)]
  local done = redis.call('HDEL', KEYS[1], unpack(ARGV, first, first + count - 1))
  if done > 0 then
    redis.call('SADD', KEYS[4], route)
    redis.call('HINCRBY', KEYS[index], 'done', done)
  end
  held, first = held + done, first + count
end
if first <= #ARGV then
  held = held + redis.call('HDEL', KEYS[1], unpack(ARGV, first))
end
return held
