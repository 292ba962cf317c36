#!lua flags=allow-oom
-- Takes messages for one worker and records each as unacked, in one step; first moves retries that are due to their queues.
--
-- KEYS[1]  unacked
-- KEYS[2]  unacked_index
-- KEYS[3]  started
-- KEYS[4]  onwards: the queues' lists, for messages of the first priority
-- ARGV[1]  most messages to take
-- ARGV[2]  most bytes to take; one message that is larger goes through when ARGV[4] is 0
-- ARGV[3]  most messages to read at once
-- ARGV[4]  1 if this worker has a message that waits to be run, else 0
-- ARGV[5]  what to do with a message that runs alone: 0 to leave it where it is; 1 to take it if it is the first, and
--          nothing more; 2 to take it as the last one
-- ARGV[6]  strikes with which a message runs alone
-- ARGV[7]  1 to share fairly between queues, 0 to empty them in order
-- ARGV[8]  number of the queue whose turn it is, from 1
-- ARGV[9]  most due retries to move per list, 0 not to look for any
-- ARGV[10] 1 if Redis tracks what is read here, and tells when it changes
-- ARGV[11] 1 to mark what is taken as started, except what came back
-- ARGV[12] delivery tags start with this
-- ARGV[13] number of the first delivery tag
-- ARGV[14] prefix of every list
-- ARGV[15] prefix of every delayed set
-- ARGV[16] between a queue's name and a priority
-- ARGV[17] onwards: priorities, the first one first; '' for the one whose lists are named like the queues
--
-- Returns: milliseconds until the next retry is due, or -1; 0 if no message that runs alone was met, 1 if one was left, 2
-- if the last one that was taken is one; 1 if the next message was too large, else 0; what is reported, as answer() would;
-- then for each group of messages: number of the queue, number of the priority, how many, the messages. They are numbered
-- in this order.

-- Messages that run alone and are left, of one list: so many are looked past; of more than these, none stays in front.
local MOST_LEFT, MOST_IN_FRONT = 2000, 100

local most, room, at_once, holds, takes_alone = number(1), number(2), number(3), ARGV[4] == '1', number(5)
local alone_strikes, fair, turn, most_due, is_tracked = number(6), ARGV[7] == '1', number(8), number(9), ARGV[10] == '1'
local marks, tag_base, first_number, prefix, delayed_prefix = ARGV[11] == '1', ARGV[12], number(13), ARGV[14], ARGV[15]
local separator, queues, priorities = ARGV[16], #KEYS - 3, #ARGV - 16

look(KEYS[1], 'HSET')
look(KEYS[2], 'ZADD')
marks = marks and can(KEYS[3], 'ZADD')

local now = clock()

local function suffix(priority)
  local step = ARGV[16 + priority]
  return step ~= '' and separator .. step or ''
end

local function list_key(queue, priority)
  return KEYS[3 + queue] .. suffix(priority)
end

local function delayed_key(queue, priority)
  return delayed_prefix .. string.sub(KEYS[3 + queue], #prefix + 1) .. suffix(priority)
end

-- Calls found(queue) for the queues whose key there is, from the one whose turn it is. Most are not there most of the time,
-- and there may be thousands.
local function each_existing(key_of, priority, found)
  for start = 1, queues, 100 do
    local chosen, keys = {}, {}
    for index = start, math.min(start + 99, queues) do
      local queue = (turn + index - 2) % queues + 1
      chosen[#chosen + 1] = queue
      keys[#keys + 1] = key_of(queue, priority)
    end
    if #keys == 1 or read('EXISTS', unpack(keys)) > 0 then
      for index, queue in ipairs(chosen) do
        if type_of(keys[index]) ~= 'none' then
          found(queue)
        end
      end
    end
  end
end

local wait
if most_due > 0 then
  for priority = 1, priorities do
    each_existing(delayed_key, priority, function(queue)
      wait = sooner(wait, move_due(delayed_key(queue, priority), list_key(queue, priority), now, most_due))
    end)
  end
end

local next_number, alone, too_large = first_number, 0, 0
local index_entries, records, starts, taken, visited = {}, {}, {}, {}, {}

local function record(item, list)
  local tag = tag_base .. next_number .. list.tag_end
  next_number = next_number + 1
  room = room - #item
  most = most - 1
  index_entries[#index_entries + 1] = now
  index_entries[#index_entries + 1] = tag
  records[#records + 1] = tag
  records[#records + 1] = '[' .. item .. list.record_end
  if marks and not came_back(item) then
    starts[#starts + 1] = now
    starts[#starts + 1] = tag
  end
end

-- Takes up to so many; returns whether there may be more. They are cut off their list at the end, when nothing can fail
-- any more.
local function take(list, wanted)
  local group, is_empty = {}, false
  while wanted > 0 and most > 0 and not is_empty do
    -- A few, then as many again: of large messages, not many are read in vain.
    local size = math.min(wanted, math.max(at_once, list.seen))
    local items = read('LRANGE', list.key, -list.seen - size, -list.seen - 1)
    is_empty = #items < size
    for position = #items, 1, -1 do
      local item = items[position]
      local is_first, runs_alone = next_number == first_number, strikes_of(item) >= alone_strikes
      if runs_alone and takes_alone < (is_first and 1 or 2) then
        alone = 1
        list.left[#list.left + 1] = item
        is_empty = is_empty or #list.left == MOST_LEFT
      elseif #item > room and (holds or not is_first) then
        too_large, most = 1, 0
        break
      else
        record(item, list)
        group[#group + 1] = item
        wanted = wanted - 1
        if runs_alone then
          alone, most = 2, 0
        end
      end
      list.seen = list.seen + 1
      if most <= 0 then
        break
      end
    end
  end
  if #group > 0 then
    list.taken = list.taken + #group
    taken[#taken + 1] = list.queue
    taken[#taken + 1] = list.priority
    taken[#taken + 1] = #group
    for _, item in ipairs(group) do
      taken[#taken + 1] = item
    end
  end
  return not is_empty
end

local function open(queue, priority)
  local list = {
    queue = queue, priority = priority, key = list_key(queue, priority), seen = 0, taken = 0, left = {},
    tag_end = ARGV[16 + priority] ~= '' and ':' .. ARGV[16 + priority] or '',
  }
  if not can(list.key, 'LRANGE', 'LTRIM', 'RPUSH', 'LPUSH') then
    return nil
  end
  -- JSON's slash needs no escape, and kombu writes none.
  local name = string.gsub(cjson.encode(string.sub(KEYS[3 + queue], #prefix + 1)), '\\/', '/')
  list.record_end = ',"",' .. name .. ']'
  visited[#visited + 1] = list
  return list
end

for priority = 1, priorities do
  if most <= 0 and not is_tracked then
    break
  end
  local live = {}
  each_existing(list_key, priority, function(queue)
    live[#live + 1] = queue
  end)
  local lists = {}
  while #live > 0 and most > 0 do
    local share = fair and math.ceil(most / #live) or most
    local still = {}
    for _, queue in ipairs(live) do
      if most <= 0 then
        break
      end
      lists[queue] = lists[queue] or open(queue, priority)
      if lists[queue] and take(lists[queue], math.min(share, most)) then
        still[#still + 1] = queue
      end
    end
    live = still
  end
end

if #records > 0 then
  for _, list in ipairs(visited) do
    if list.taken > 0 then
      write('LTRIM', list.key, 0, -list.seen - 1)
      if #list.left > MOST_IN_FRONT then
        -- Else each fetch would read all of them, for what is behind.
        for _, item in ipairs(list.left) do
          write('LPUSH', list.key, item)
        end
      else
        for position = #list.left, 1, -1 do
          write('RPUSH', list.key, list.left[position])
        end
      end
    end
  end
  write('ZADD', KEYS[2], unpack(index_entries))
  write('HSET', KEYS[1], unpack(records))
  if #starts > 0 then
    write('ZADD', KEYS[3], unpack(starts))
  end
end
table.insert(taken, 1, reports())
table.insert(taken, 1, too_large)
table.insert(taken, 1, alone)
table.insert(taken, 1, wait or -1)
return taken
