#!lua flags=allow-oom
-- Moves retries that are due to the back of their queues.
--
-- KEYS     delayed set, queue; one such pair for each queue
-- ARGV[1]  most messages to move per queue
--
-- Returns the milliseconds until the next retry of any of the queues is due, or -1 when none waits.

local time = redis.call('TIME')
local now = string.format('%.6f', time[1] + time[2] / 1000000)
local wait = -1
for index = 1, #KEYS, 2 do
  local delayed, queue = KEYS[index], KEYS[index + 1]
  for _, item in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, ARGV[1])) do
    redis.call('LPUSH', queue, item)
    redis.call('ZREM', delayed, item)
  end
  local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if first[2] then
    local left = math.max(0, math.ceil((first[2] - now) * 1000))
    if wait < 0 or left < wait then
      wait = left
    end
  end
end
return wait
