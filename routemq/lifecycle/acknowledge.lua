#!lua flags=allow-oom
-- Forgets messages that are done, and counts those of routes. What is not held any more is left alone, and not counted.
--
-- KEYS[1]  unacked
-- KEYS[2]  unacked_index
-- KEYS[3]  started
-- KEYS[4]  counted-routes
-- KEYS[5]  replayed messages of which nothing is known
-- KEYS[6]  what is known of others
-- KEYS[7]  onwards: totals of a route
-- ARGV[1]  onwards: for each key of totals, the route, and how many delivery tags are its
-- then     delivery tags, in the order of the routes; after them those that are not counted
--
-- Returns how many were held. Marks, totals and notes whose key is another program's are left out, and reported.

look(KEYS[1], 'HDEL')
look(KEYS[2], 'ZREM')
local has_marks = type_of(KEYS[3]) ~= 'none' and can(KEYS[3], 'ZREM')
local watches = type_of(KEYS[5]) ~= 'none' and can(KEYS[5], 'HDEL') and can(KEYS[6], 'HSET', 'EXPIRE')
local counts = can(KEYS[4], 'SADD')
local first = 2 * (#KEYS - 6) + 1

local routes, known, runs = {}, {}, {}

-- An operator who has replayed some messages waits for what becomes of them; nobody else needs their records read, and
-- what is known of is not waited for. One record at a time, and no pattern before the place is known: payloads may be
-- large.
local function find_watched(from, to)
  for index = from, to do
    local record = read('HGET', KEYS[1], ARGV[index])
    local at = record and string.find(record, '"delivery_tag":', 1, true)
    -- The tag that its sender gave it, which begins with what is watched.
    local run = at and string.match(record, '"delivery_tag": ?"([^"]*)%.%d+"', at)
    local note = run and read('HGET', KEYS[5], run)
    if note then
      runs[#runs + 1] = run
      known[#known + 1] = run
      known[#known + 1] = 'done ' .. clock() .. ' ' .. note
    end
  end
end

local from = first
for index = 7, #KEYS do
  local to = from + number(2 * (index - 6)) - 1
  routes[#routes + 1] = {
    name = ARGV[2 * (index - 6) - 1], from = from, to = to,
    totals = counts and can_count(KEYS[index], 'done') and KEYS[index],
  }
  if watches then
    find_watched(from, to)
  end
  from = to + 1
end

local held, counted = 0, {}
for _, route in ipairs(routes) do
  local done = write('HDEL', KEYS[1], unpack(ARGV, route.from, route.to))
  if done > 0 and route.totals then
    counted[#counted + 1] = route.name
    count(route.totals, 'done', done)
  end
  held = held + done
end
if #counted > 0 then
  write('SADD', KEYS[4], unpack(counted))
end
if from <= #ARGV then
  held = held + write('HDEL', KEYS[1], unpack(ARGV, from))
end
write('ZREM', KEYS[2], unpack(ARGV, first))
if has_marks then
  write('ZREM', KEYS[3], unpack(ARGV, first))
end
if #runs > 0 then
  write('HSET', KEYS[6], unpack(known))
  write('EXPIRE', KEYS[6], 86400)
  write('HDEL', KEYS[5], unpack(runs))
end
return answer(held)
