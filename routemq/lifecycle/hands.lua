-- Functions to put what a worker held back on its queue; put_back.lua and restore.lua begin with them.
--
-- KEYS[1]  unacked
-- KEYS[2]  unacked_index
-- KEYS[3]  started
-- ARGV[1]  prefix of every list
-- ARGV[2]  prefix of every delayed set
-- ARGV[3]  between a queue's name and a priority
-- ARGV[4]  longest delay, seconds

local prefix, delayed_prefix, separator, longest_delay = ARGV[1], ARGV[2], ARGV[3], number(4)
local now = clock()
look(KEYS[1], 'HGET', 'HDEL')
look(KEYS[2], 'ZREM')
local has_marks = can(KEYS[3], 'ZREM') and type_of(KEYS[3]) ~= 'none'

-- Tags of records that another transport has written; only Python can route those.
local others = {}

local function forget(tag)
  write('HDEL', KEYS[1], tag)
  write('ZREM', KEYS[2], tag)
  if has_marks then
    write('ZREM', KEYS[3], tag)
  end
  whole()
end

local function list_name(tag, queue)
  local priority = string.match(tag, '^routemq:[^:]*:%d+:?(%d*)$')
  if string.find(queue, '\\', 1, true) then
    local decodes, decoded = pcall(cjson.decode, '["' .. queue .. '"]')
    queue = decodes and decoded[1]
  end
  return priority and queue and queue .. (priority ~= '' and separator .. priority or '')
end

-- Returns the item and the name of its list; nil when it is not held, or another transport's.
local function held(tag)
  local record = read('HGET', KEYS[1], tag)
  if not record then
    forget(tag)
    return nil
  end
  local item, queue = string.match(record, '^%[(.*),"","(.*)"%]$')
  local name = item and list_name(tag, queue)
  if not name then
    others[#others + 1] = tag
    return nil
  end
  return item, name
end

-- Each returns whether it did. It did not when the list is another program's: then the message stays where it is.

local function put_in_front(tag)
  local item, name = held(tag)
  if not item or not can(prefix .. name, 'RPUSH') then
    return false
  end
  write('RPUSH', prefix .. name, item)
  forget(tag)
  return true
end

local function put_at_the_back(tag, strike)
  local item, name = held(tag)
  if not item then
    return false
  end
  local list, delayed = prefix .. name, delayed_prefix .. name
  if not can(list, 'LPUSH') or not can(delayed, 'ZADD') then
    return false
  end
  local later, deliveries = marked(item, strike)
  local delay = deliveries > 1 and math.min(2 ^ (deliveries - 2), longest_delay) or 0
  -- Two messages of the same bytes are one member of a set: the second goes to the list.
  if delay == 0 or write('ZADD', delayed, 'NX', string.format('%.6f', now + delay), later) == 0 then
    write('LPUSH', list, later)
  end
  forget(tag)
  return true
end
