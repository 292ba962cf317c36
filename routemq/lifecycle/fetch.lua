#!lua flags=allow-oom
-- Takes messages for one worker and records each as unacked, in one step; first moves retries that are due to their queues.
--
-- KEYS[1]  onwards: the queues' lists, for messages of the first priority. Of these alone, and of what is read, Redis tells
--          a worker: Redis 7.0 of every key that is declared. Of unacked it would tell it of all workers' acknowledgements.
-- ARGV[1]  most messages to take
-- ARGV[2]  most bytes to take; one message that is larger goes through when ARGV[4] is 0
-- ARGV[3]  most messages to read at once
-- ARGV[4]  1 if this worker has a message that waits to be run, else 0
-- ARGV[5]  what to do with a message that runs alone: 0 to leave it where it is; 1 to take it if it is the first, and
--          nothing more; 2 to take it as the last one
-- ARGV[6]  strikes with which a message runs alone
-- ARGV[7]  to share fairly between queues, how many of one to take in its turn, if they are so many and more queues have
--          messages than have room for as many; 0 to empty them in order
-- ARGV[8]  number of the queue whose turn it is, from 1
-- ARGV[9]  most due retries to move per list, 0 not to look for any
-- ARGV[10] 1 if Redis tracks what is read here, and tells when it changes
-- ARGV[11] how many of what is taken to mark as started, from the first on, except what came back
-- ARGV[12] delivery tags start with this
-- ARGV[13] number of the first delivery tag
-- ARGV[14] prefix of every list
-- ARGV[15] prefix of every delayed set
-- ARGV[16] between a queue's name and a priority
-- ARGV[17] unacked
-- ARGV[18] unacked_index
-- ARGV[19] started
-- ARGV[20] onwards: priorities, the first one first; '' for the one whose lists are named like the queues
--
-- Returns: milliseconds until the next retry is due, or -1; 0 if no message that runs alone was met, 1 if one was left, 2
-- if the last one that was taken is one; 1 if the next message was too large, else 0; what is reported, as answer() would;
-- then for each group of messages: number of the queue, number of the priority, how many, the messages. They are numbered
-- in this order.

-- Messages that run alone and are left, of one list: so many are looked past; of more than these, none stays in front.
local MOST_LEFT, MOST_IN_FRONT = 2000, 100

local most, room, at_once, holds, takes_alone = number(1), number(2), number(3), ARGV[4] == '1', number(5)
local alone_strikes, in_turn, turn, most_due, is_tracked = number(6), number(7), number(8), number(9), ARGV[10] == '1'
local marks, tag_base, first_number, prefix, delayed_prefix = number(11), ARGV[12], number(13), ARGV[14], ARGV[15]
local separator, queues, priorities = ARGV[16], #KEYS, #ARGV - 19
local held, held_index, started = ARGV[17], ARGV[18], ARGV[19]

local has_looked = false

local function look_at_held()
  if not has_looked then
    look(held, 'HSET')
    look(held_index, 'ZADD')
    marks = marks > 0 and can(started, 'ZADD') and marks or 0
    has_looked = true
  end
end

-- To look is to read, of which Redis would tell; when something is taken, what is written there ends that.
if not is_tracked then
  look_at_held()
end

local now = clock()

local suffixes = {}
for priority = 1, priorities do
  local step = ARGV[19 + priority]
  suffixes[priority] = step ~= '' and separator .. step or ''
end

local function list_key(queue, priority)
  return KEYS[queue] .. suffixes[priority]
end

local function delayed_key(queue, priority)
  return delayed_prefix .. string.sub(KEYS[queue], #prefix + 1) .. suffixes[priority]
end

-- Calls found(queue) for the queues whose key there is, from the one whose turn it is, the first of which is `start`, until it
-- says that these are enough; returns where to go on, nil when all were looked at. Most are not there most of the time, and
-- there may be thousands.
local function each_existing(key_of, priority, start, at_a_time, found)
  while start <= queues do
    local count = math.min(at_a_time, queues - start + 1)
    local chosen, keys = {}, {}
    for index = 1, count do
      local queue = (turn + start + index - 3) % queues + 1
      chosen[index] = queue
      keys[index] = key_of(queue, priority)
    end
    if count == 1 or read('EXISTS', unpack(keys)) > 0 then
      for index = 1, count do
        if type_of(keys[index]) ~= 'none' and found(chosen[index]) then
          return start + index
        end
      end
    end
    start, at_a_time = start + count, 100
  end
end

-- Whether there is any list or set of these priorities, of which there is none most of the time.
local function any_exists(key_of, first)
  local keys = {}
  for priority = first, priorities do
    for queue = 1, queues do
      keys[#keys + 1] = key_of(queue, priority)
    end
  end
  for at = 1, #keys, 1000 do
    if read('EXISTS', unpack(keys, at, math.min(at + 999, #keys))) > 0 then
      return true
    end
  end
  return false
end

local wait
if most_due > 0 and any_exists(delayed_key, 1) then
  for priority = 1, priorities do
    each_existing(delayed_key, priority, 1, 100, function(queue)
      wait = sooner(wait, move_due(delayed_key(queue, priority), list_key(queue, priority), now, most_due))
    end)
  end
end

local fetched, alone, too_large = 0, 0, 0
local index_entries, records, starts, taken, visited = {}, {}, {}, {}, {}

-- Takes up to so many; returns whether there may be more. They are cut off their list at the end, when nothing can fail
-- any more.
local function take(list, wanted)
  local head, before, is_empty = #taken, fetched, false
  local record_end, tag_end = list.record_end, list.tag_end
  taken[head + 1], taken[head + 2], taken[head + 3] = list.queue, list.priority, 0
  while wanted > 0 and most > 0 and not is_empty do
    -- A few, then as many again: of large messages, not many are read in vain.
    local size = math.min(wanted, math.max(at_once, list.seen))
    local items = read('LRANGE', list.key, -list.seen - size, -list.seen - 1)
    is_empty = #items < size
    for position = #items, 1, -1 do
      local item = items[position]
      local is_back = came_back(item)
      local runs_alone = is_back and strikes_of(item) >= alone_strikes
      if runs_alone and takes_alone < (fetched == 0 and 1 or 2) then
        alone = 1
        list.left[#list.left + 1] = item
        is_empty = is_empty or #list.left == MOST_LEFT
      elseif #item > room and (holds or fetched > 0) then
        too_large, most = 1, 0
        break
      else
        local tag, at = tag_base .. first_number + fetched .. tag_end, 2 * fetched + 1
        fetched, wanted, most, room = fetched + 1, wanted - 1, most - 1, room - #item
        taken[head + 3 + fetched - before] = item
        index_entries[at], index_entries[at + 1] = now, tag
        records[at], records[at + 1] = tag, '[' .. item .. record_end
        if fetched <= marks and not is_back then
          starts[#starts + 1] = now
          starts[#starts + 1] = tag
        end
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
  if fetched > before then
    list.is_taken_from = true
    taken[head + 3] = fetched - before
  else
    taken[head + 1], taken[head + 2], taken[head + 3] = nil, nil, nil
  end
  return not is_empty
end

local function open(queue, priority)
  look_at_held()
  local list = {
    queue = queue, priority = priority, key = list_key(queue, priority), seen = 0, left = {},
    tag_end = ARGV[19 + priority] ~= '' and ':' .. ARGV[19 + priority] or '',
  }
  if not can(list.key, 'LRANGE', 'LTRIM', 'RPUSH', 'LPUSH') then
    return nil
  end
  -- JSON's slash needs no escape, and kombu writes none.
  local name = string.gsub(cjson.encode(string.sub(KEYS[queue], #prefix + 1)), '\\/', '/')
  list.record_end = ',"",' .. name .. ']'
  visited[#visited + 1] = list
  return list
end

for priority = 1, priorities do
  if most <= 0 and not is_tracked or priority == 2 and not any_exists(list_key, 2) then
    break
  end
  local lists, start, live = {}, 1, {}
  while start and (most > 0 or is_tracked) or most > 0 and #live > 0 do
    local now_served = live
    if start then
      local enough = math.max(1, math.floor(most / math.max(1, in_turn)))
      now_served = {}
      start = each_existing(list_key, priority, start, is_tracked and 100 or math.min(enough, 100), function(queue)
        now_served[#now_served + 1] = queue
        return #now_served >= enough and not is_tracked
      end)
    else
      -- All have had their turn, and there is room for more.
      live = {}
    end
    local share = in_turn > 0 and math.ceil(most / #now_served) or most
    for _, queue in ipairs(now_served) do
      if most <= 0 then
        break
      end
      lists[queue] = lists[queue] or open(queue, priority)
      if lists[queue] and take(lists[queue], math.min(share, most)) then
        live[#live + 1] = queue
      end
    end
  end
end

if fetched > 0 then
  for _, list in ipairs(visited) do
    if list.is_taken_from then
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
      if is_tracked then
        -- Redis tells of a key once, and of this change to nobody here: from now on, of the next one.
        read('LRANGE', list.key, 0, 0)
      end
    end
  end
  write('ZADD', held_index, unpack(index_entries))
  write('HSET', held, unpack(records))
  if #starts > 0 then
    write('ZADD', started, unpack(starts))
  end
end
table.insert(taken, 1, reports())
table.insert(taken, 1, too_large)
table.insert(taken, 1, alone)
table.insert(taken, 1, wait or -1)
return taken
