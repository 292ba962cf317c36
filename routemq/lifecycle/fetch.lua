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
-- ARGV[9]  strikes with which a message runs alone
-- ARGV[10] onwards: for each list, what follows the message in its record, and what ends its delivery tags
--
-- Returns: milliseconds until the next retry is due, or -1; 1 if a message waits to be run alone, else 0; what is
-- reported, as answer() would; then for each group of messages: number of the list, how many, the messages. They are
-- numbered in this order.

local most, queues, fair, due_most = number(1), number(2), ARGV[3] == '1', number(4)
local first_number, held, alone_strikes = number(6), number(7), number(9)
look(KEYS[1], 'HSET')
look(KEYS[2], 'ZADD')
local marks = ARGV[8] == '1' and can(KEYS[3], 'ZADD')
local lists = (#KEYS - 3) / 2
local now = clock()
local wait, alone = nil, 0

if read('EXISTS', unpack(KEYS, 4 + lists)) > 0 then
  for index = 4, 3 + lists do
    wait = sooner(wait, move_due(KEYS[lists + index], KEYS[index], now, due_most))
  end
end

local next_number = first_number
local index_entries, records, starts, taken = {}, {}, {}, {}
-- Of each list, from its front: how many messages were looked at.
local seen = {}

local function record(item, list)
  local tag = ARGV[5] .. next_number .. ARGV[9 + 2 * list]
  next_number = next_number + 1
  index_entries[#index_entries + 1] = now
  index_entries[#index_entries + 1] = tag
  records[#records + 1] = tag
  records[#records + 1] = '[' .. item .. ARGV[8 + 2 * list]
  if marks and not came_back(item) then
    starts[#starts + 1] = now
    starts[#starts + 1] = tag
  end
end

-- Returns how many it took. They are cut off their lists at the end, when nothing can fail any more.
local function take(list, wanted)
  local key = KEYS[3 + list]
  if not can(key, 'LRANGE', 'LTRIM') then
    return 0
  end
  local before = seen[key] or 0
  local items = read('LRANGE', key, -before - wanted, -before - 1)
  local group = {}
  for position = #items, 1, -1 do
    local item = items[position]
    if strikes_of(item) >= alone_strikes then
      alone = 1
      if next_number > first_number or held > 0 then
        most = #group
        break
      end
    end
    record(item, list)
    group[#group + 1] = item
    if alone == 1 then
      most = #group
      break
    end
  end
  most = most - #group
  if #group > 0 then
    seen[key] = before + #group
    taken[#taken + 1] = list
    taken[#taken + 1] = #group
    for _, item in ipairs(group) do
      taken[#taken + 1] = item
    end
  end
  return #group
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
    if read('EXISTS', unpack(KEYS, 3 + start, 3 + lists)) == 0 then
      break
    end
  end
end

if #records > 0 then
  for key, count in pairs(seen) do
    write('LTRIM', key, 0, -count - 1)
  end
  write('ZADD', KEYS[2], unpack(index_entries))
  write('HSET', KEYS[1], unpack(records))
  if #starts > 0 then
    write('ZADD', KEYS[3], unpack(starts))
  end
elseif most > 0 then
  -- Reads, so that the server tells a client that tracks keys when any of these changes.
  read('EXISTS', unpack(KEYS, 4, 3 + lists))
end
table.insert(taken, 1, reports())
table.insert(taken, 1, alone)
table.insert(taken, 1, wait or -1)
return taken
