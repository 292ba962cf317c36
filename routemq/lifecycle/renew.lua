#!lua flags=allow-oom
-- Renews the lease of what a worker holds.
--
-- KEYS[1]  unacked_index, zset: delivery tag -> time of delivery
-- KEYS[2]  started, zset: delivery tag -> when it was marked as started
-- ARGV[1]  1 if the messages are running, 0 if not
-- ARGV[2]  onwards: delivery tags
--
-- Returns the tags that are not held any more.

local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
local lost = {}
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 2))
for index, score in ipairs(scores) do
  local tag = ARGV[index + 1]
  if not score then
    lost[#lost + 1] = tag
  else
    redis.call('ZADD', KEYS[1], now, tag)
    if ARGV[1] == '1' then
      redis.call('ZADD', KEYS[2], now, tag)
    end
  end
end
return lost
