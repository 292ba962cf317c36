#!lua
-- Says of which routes a history is kept: of so many, and of the same ones from one look to the next.
--
-- KEYS[1]  routes that have one; score: when something was written of each, Unix seconds
-- ARGV[1]  now, Unix seconds
-- ARGV[2]  how many there may be
-- ARGV[3]  a route that did nothing for so many seconds makes room for another
-- ARGV[4]  seconds that the key is kept
-- ARGV     from 5 on: routes of which something is to be written
--
-- Returns two lists: those for which there is no room, and those that have made room.
local now, most, idle_s, kept_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local new, left_out, ended = {}, {}, {}
for index = 5, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[index]) then
    redis.call('ZADD', KEYS[1], now, ARGV[index])
  else
    new[#new + 1] = ARGV[index]
  end
end
for _, route in ipairs(new) do
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  local is_full = redis.call('ZCARD', KEYS[1]) >= most
  if is_full and tonumber(oldest[2]) > now - idle_s then
    left_out[#left_out + 1] = route
  else
    if is_full then
      redis.call('ZREM', KEYS[1], oldest[1])
      ended[#ended + 1] = oldest[1]
    end
    redis.call('ZADD', KEYS[1], now, route)
  end
end
redis.call('EXPIRE', KEYS[1], kept_s)
return {left_out, ended}
