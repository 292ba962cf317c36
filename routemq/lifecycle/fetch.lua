#!lua flags=allow-oom
-- Takes messages for one worker and records each as unacked, in one step; first moves retries that are due to their queues.
--
-- KEYS[1]  unacked, hash: delivery tag -> record `[message, exchange, routing key]`
-- KEYS[2]  unacked_index, zset: delivery tag -> time of delivery
-- KEYS[3]  started, zset: delivery tag -> when it was marked as started
-- KEYS[4]  onwards: the lists, all queues of the first priority, then all of the next, in the order of their turn;
--          then as many delayed sets, one for each list
-- ARGV[1]  most messages to take
-- ARGV[2]  number of queues
-- ARGV[3]  1 to share fairly between queues, 0 to empty them in order
-- ARGV[4]  most due retries to move per list
-- ARGV[5]  delivery tags start with this
-- ARGV[6]  number of the first delivery tag
-- ARGV[7]  how many messages this worker holds
-- ARGV[8]  1 to mark what is taken as started, except what came back
-- ARGV[9]  onwards: for each list, what follows the message in its record, and what ends its delivery tags
--
-- Returns: milliseconds until the next retry is due, or -1; 1 if a message waits to be run alone, else 0; then for each
-- group of messages: number of the list, how many, the messages. They are numbered in this order.

local most, queues, fair = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local lists = (#KEYS - 3) / 2
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
local wait, alone = -1, 0

local delayed = {}
for index = 1, lists do
  delayed[index] = KEYS[3 + lists + index]
end
if redis.call('EXISTS', unpack(delayed)) > 0 then
  for index, key in ipairs(delayed) do
    local due = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, ARGV[4])
    if #due > 0 then
      redis.call('LPUSH', KEYS[3 + index], unpack(due))
      redis.call('ZREM', key, unpack(due))
    end
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[2] then
      local left = math.max(0, math.ceil((first[2] - now) * 1000))
      if wait < 0 or left < wait then
        wait = left
      end
    end
  end
end

local number, mark = tonumber(ARGV[6]), ARGV[8] == '1'
local index_entries, records, starts, taken = {}, {}, {}, {}

local function came_back(item)
  -- The mark that restore.lua leaves: deliveries and strikes.
  return string.sub(item, 1, 11) == '{"routemq":'
end

local function runs_alone(item)
  if not came_back(item) then
    return false
  end
  local strikes = string.match(item, '^{"routemq":%s*%[%d+,%s*(%d+)%]')
  return strikes ~= nil and tonumber(strikes) >= 2
end

local function take(list, count)
  local key = KEYS[3 + list]
  local items = redis.call('RPOP', key, count)
  if not items then
    return 0
  end
  local tail, suffix = ARGV[7 + 2 * list], ARGV[8 + 2 * list]
  local group = {}
  for position, item in ipairs(items) do
    if runs_alone(item) then
      if number > tonumber(ARGV[6]) or tonumber(ARGV[7]) > 0 then
        -- This and the rest go back to where they were.
        for back = #items, position, -1 do
          redis.call('RPUSH', key, items[back])
        end
        alone, most = 1, 0
        break
      end
      alone = 1
    end
    local tag = ARGV[5] .. number .. suffix
    number = number + 1
    index_entries[#index_entries + 1] = now
    index_entries[#index_entries + 1] = tag
    records[#records + 1] = tag
    records[#records + 1] = '[' .. item .. tail
    if mark and not came_back(item) then
      starts[#starts + 1] = time[1]
      starts[#starts + 1] = tag
    end
    group[#group + 1] = item
    most = most - 1
    if alone == 1 then
      for back = #items, position + 1, -1 do
        redis.call('RPUSH', key, items[back])
      end
      most = 0
      break
    end
  end
  if #group > 0 then
    taken[#taken + 1] = list
    taken[#taken + 1] = #group
    for _, item in ipairs(group) do
      taken[#taken + 1] = item
    end
  end
  return #items
end

local start = 1
while start <= lists and most > 0 do
  local live = {}
  for list = start, start + queues - 1 do
    live[#live + 1] = list
  end
  while #live > 0 and most > 0 do
    local share = fair and math.ceil(most / #live) or most
    local still = {}
    for _, list in ipairs(live) do
      if most <= 0 then
        break
      end
      local wanted = math.min(share, most)
      if take(list, wanted) == wanted then
        still[#still + 1] = list
      end
    end
    live = still
  end
  start = start + queues
  if start <= lists and start <= queues + 1 and most > 0 then
    -- Most users have one priority: the lists of the others are looked for once, not one by one.
    if redis.call('EXISTS', unpack(KEYS, 3 + start, 3 + lists)) == 0 then
      break
    end
  end
end

if #records > 0 then
  redis.call('ZADD', KEYS[2], unpack(index_entries))
  redis.call('HSET', KEYS[1], unpack(records))
  if #starts > 0 then
    redis.call('ZADD', KEYS[3], unpack(starts))
  end
elseif most > 0 then
  -- Reads, so that the server tells a client that tracks keys when any of these changes.
  redis.call('EXISTS', unpack(KEYS, 4, 3 + lists))
end
table.insert(taken, 1, alone)
table.insert(taken, 1, wait)
return taken
