#!lua flags=allow-oom
-- Puts messages that a worker held back on their queues.
--
-- KEYS[1]  unacked, hash: delivery tag -> record `[message, "", queue]`
-- KEYS[2]  unacked_index, zset: delivery tag -> time of delivery, or of the last renewal
-- KEYS[3]  started, zset: delivery tag -> when it was marked as started
-- ARGV[1]  unread: to the front, as if it had not been taken; returned: to the back, later each time, and counted;
--          lost: the same for every message whose lease ran out, with a strike for what was running
-- ARGV[2]  prefix of every list
-- ARGV[3]  prefix of every delayed set
-- ARGV[4]  between a queue's name and a priority
-- ARGV[5]  longest delay, seconds
-- ARGV[6]  onwards, unless lost: delivery tags; unread ones in the order of their delivery
-- ARGV[6]  when lost: how long a lease lasts, seconds
-- ARGV[7]  when lost: the same for workers with Celery's own transport, which do not renew
-- ARGV[8]  when lost: most messages to look at
--
-- Returns how many were restored, then the tags of records that were written by another transport. A message whose list
-- is another program's key stays where it is, and the list is reported.

local mode, prefix, delayed_prefix, separator, longest_delay = ARGV[1], ARGV[2], ARGV[3], ARGV[4], number(5)
look(KEYS[1], 'HDEL')
look(KEYS[2], 'ZREM', 'ZADD')
local has_marks = can(KEYS[3], 'ZREM', 'ZREMRANGEBYSCORE') and type_of(KEYS[3]) ~= 'none'
local now = clock()
local others = {}

local function forget(tag)
  write('HDEL', KEYS[1], tag)
  write('ZREM', KEYS[2], tag)
  if has_marks then
    write('ZREM', KEYS[3], tag)
  end
  whole()
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

local function list_name(tag, queue)
  local priority = string.match(tag, '^routemq:[^:]*:%d+:?(%d*)$')
  if string.find(queue, '\\', 1, true) then
    local decodes, decoded = pcall(cjson.decode, '["' .. queue .. '"]')
    queue = decodes and decoded[1]
  end
  return priority and queue and queue .. (priority ~= '' and separator .. priority or '')
end

local function restore_later(tag, item, list, delayed)
  local strike = mode == 'lost' and has_marks and read('ZSCORE', KEYS[3], tag) and 1 or 0
  local deliveries
  item, deliveries = marked(item, strike)
  local delay = deliveries > 1 and math.min(2 ^ (deliveries - 2), longest_delay) or 0
  -- Two messages of the same bytes are one member of a set: the second goes to the list.
  if delay == 0 or write('ZADD', delayed, 'NX', string.format('%.6f', now + delay), item) == 0 then
    write('LPUSH', list, item)
  end
end

local function restore(tag)
  local record = read('HGET', KEYS[1], tag)
  if not record then
    forget(tag)
    return 0
  end
  local item, queue = string.match(record, '^%[(.*),"","(.*)"%]$')
  local name = item and list_name(tag, queue)
  if not name then
    others[#others + 1] = tag
    return 0
  end
  local list, delayed = prefix .. name, delayed_prefix .. name
  if mode == 'unread' then
    if not can(list, 'RPUSH') then
      return 0
    end
    write('RPUSH', list, item)
  else
    if not can(list, 'LPUSH') or not can(delayed, 'ZADD') then
      return 0
    end
    restore_later(tag, item, list, delayed)
  end
  forget(tag)
  return 1
end

local restored = 0
if mode == 'lost' then
  local own_s, others_s, most = number(6), number(7), number(8)
  local own_until, others_until = now - own_s, now - others_s
  local offset, seen = 0, 0
  repeat
    local found = read(
      'ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', own_until), 'WITHSCORES', 'LIMIT', offset, 100)
    for index = 1, #found, 2 do
      local tag = found[index]
      local expired = string.sub(tag, 1, 8) == 'routemq:' or tonumber(found[index + 1]) <= others_until
      local count = expired and restore(tag) or 0
      restored = restored + count
      -- What is still there must be stepped over.
      if count == 0 and read('ZSCORE', KEYS[2], tag) then
        offset = offset + 1
      end
    end
    seen = seen + #found / 2
  until #found == 0 or seen >= most
  -- Times from a clock that was ahead would keep a dead worker's messages for as long as it was.
  for _, tag in ipairs(read('ZRANGEBYSCORE', KEYS[2], string.format('(%.6f', now + 60), '+inf', 'LIMIT', 0, most)) do
    write('ZADD', KEYS[2], now, tag)
  end
  if has_marks then
    write('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.6f', now - 86400))
  end
else
  local first, last, step = 6, #ARGV, 1
  if mode == 'unread' then
    first, last, step = #ARGV, 6, -1
  end
  for index = first, last, step do
    restored = restored + restore(ARGV[index])
  end
end
table.insert(others, 1, restored)
return answer(others)
