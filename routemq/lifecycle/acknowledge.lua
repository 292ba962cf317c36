#!lua flags=allow-oom
-- Forgets messages that are done, and counts those of routes. What is not held any more is left alone, and not counted.
--
-- KEYS[1]  unacked, hash: delivery tag -> record
-- KEYS[2]  unacked_index, zset: delivery tag -> time of delivery
-- KEYS[3]  started, zset: delivery tag -> when it was marked as started
-- KEYS[4]  counted-routes, set: the routes that have totals
-- KEYS[5]  canaries of a replay, hash: `<task id>.<generation>` -> '', or 'done', which is written here
-- KEYS[6]  onwards: totals of a route, hash
-- ARGV[1]  onwards: for each key of totals, the route, and how many delivery tags are its
-- then     delivery tags, in the order of the routes; after them those that are not counted
--
-- Returns how many were held.

-- An operator who has replayed some messages waits for what becomes of them; nobody else needs their records read.
local function note_canaries(from, to)
  for _, record in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV, from, to))) do
    -- The tag that its sender gave it, which begins with what is watched.
    local run = record and string.match(record, '"delivery_tag": ?"([^"]*)%.%d+"')
    if run and redis.call('HEXISTS', KEYS[5], run) == 1 then
      redis.call('HSET', KEYS[5], run, 'done')
    end
  end
end

local first = 2 * (#KEYS - 5) + 1
redis.call('ZREM', KEYS[2], unpack(ARGV, first))
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('ZREM', KEYS[3], unpack(ARGV, first))
end
local watches = redis.call('EXISTS', KEYS[5]) == 1
local held = 0
for index = 6, #KEYS do
  local route, count = ARGV[2 * (index - 5) - 1], ARGV[2 * (index - 5)]
  if watches then
    note_canaries(first, first + count - 1)
  end
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
