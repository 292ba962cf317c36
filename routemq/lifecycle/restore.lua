#!lua flags=allow-oom
-- Puts messages that a worker held back on their queues.
--
-- KEYS[1]  unacked, hash: delivery tag -> record `[message, "", queue]`
-- KEYS[2]  unacked_index, zset: delivery tag -> time of delivery, or of the last renewal
-- KEYS[3]  started, zset: delivery tag -> when it was marked as started
-- ARGV[1]  unread: to the front, as if it had not been taken; returned: to the back, later each time, and counted;
--          lost: the same for every message whose lease ran out, with a strike for what was running
-- ARGV[2]  prefix of every key
-- ARGV[3]  between a queue's name and a priority
-- ARGV[4]  longest delay, seconds
-- ARGV[5]  onwards, unless lost: delivery tags; unread ones in the order of their delivery
-- ARGV[5]  when lost: how long a lease lasts, seconds
-- ARGV[6]  when lost: the same for workers with Celery's own transport, which do not renew
-- ARGV[7]  when lost: most messages to look at
--
-- Returns how many were restored, then the tags of records that were written by another transport.

local mode, prefix, separator = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
local others = {}

local function forget(tag)
  redis.call('HDEL', KEYS[1], tag)
  redis.call('ZREM', KEYS[2], tag)
  redis.call('ZREM', KEYS[3], tag)
end

local function marked(item, strike)
  local deliveries, strikes, rest = string.match(item, '^{"routemq":%s*%[(%d+),%s*(%d+)%],%s*(.*)$')
  if not deliveries then
    deliveries, strikes = 0, 0
    rest = string.match(item, '^%s*{%s*(".*)$')
    if not rest then
      return item, 1  -- No message: whoever takes it next buries it as it is.
    end
  end
  deliveries, strikes = deliveries + 1, strikes + strike
  return string.format('{"routemq":[%d,%d],%s', deliveries, strikes, rest), deliveries
end

local function restore(tag)
  local record = redis.call('HGET', KEYS[1], tag)
  if not record then
    forget(tag)
    return 0
  end
  local own, priority = string.match(tag, '^(routemq:)[^:]*:%d+:?(%d*)$')
  local item, queue = string.match(record, '^%[(.*),"","(.*)"%]$')
  if not own or not item then
    others[#others + 1] = tag
    return 0
  end
  if string.find(queue, '\\', 1, true) then
    queue = cjson.decode('["' .. queue .. '"]')[1]
  end
  local list = queue
  if priority ~= '' then
    list = queue .. separator .. priority
  end
  if mode == 'unread' then
    redis.call('RPUSH', prefix .. list, item)
  else
    local strike = 0
    if mode == 'lost' and redis.call('ZSCORE', KEYS[3], tag) then
      strike = 1
    end
    local deliveries
    item, deliveries = marked(item, strike)
    local delay = deliveries > 1 and math.min(2 ^ (deliveries - 2), tonumber(ARGV[4])) or 0
    local due = string.format('%.6f', now + delay)
    -- Two messages of the same bytes are one member of a set: the second goes to the list.
    if delay == 0 or redis.call('ZADD', prefix .. 'routemq:delayed:' .. list, 'NX', due, item) == 0 then
      redis.call('LPUSH', prefix .. list, item)
    end
  end
  forget(tag)
  return 1
end

local restored = 0
if mode == 'lost' then
  local own_until, others_until = now - ARGV[5], now - ARGV[6]
  local offset, seen = 0, 0
  repeat
    local found = redis.call(
      'ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', own_until), 'WITHSCORES', 'LIMIT', offset, 100)
    for index = 1, #found, 2 do
      local tag = found[index]
      local expired = string.sub(tag, 1, 8) == 'routemq:' or tonumber(found[index + 1]) <= others_until
      local count = expired and restore(tag) or 0
      restored = restored + count
      -- What is still there must be stepped over.
      if count == 0 and redis.call('ZSCORE', KEYS[2], tag) then
        offset = offset + 1
      end
    end
    seen = seen + #found / 2
  until #found == 0 or seen >= tonumber(ARGV[7])
  -- Times from a clock that was ahead would keep a dead worker's messages for as long as it was.
  local ahead = redis.call(
    'ZRANGEBYSCORE', KEYS[2], string.format('(%.6f', now + 60), '+inf', 'LIMIT', 0, ARGV[7])
  for _, tag in ipairs(ahead) do
    redis.call('ZADD', KEYS[2], now, tag)
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.6f', now - 86400))
elseif mode == 'unread' then
  for index = #ARGV, 5, -1 do
    restored = restored + restore(ARGV[index])
  end
else
  for index = 5, #ARGV do
    restored = restored + restore(ARGV[index])
  end
end
table.insert(others, 1, restored)
return others
