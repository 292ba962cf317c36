-- Functions to add a dead letter and to take one away; the scripts that change letters begin with them. Each letter is
-- planned first, which looks at all that will be changed for it, and carried out when all of the script's letters are.
--
-- KEYS[1]  entries                        KEYS[2]  raw
-- KEYS[3]  by-time, without the route     KEYS[4]  by-reason, without the reason and the route
-- KEYS[5]  by-error, without the fingerprint and the route
-- KEYS[6]  counters of dead letters, without the route
-- KEYS[7]  routes that have dead letters  KEYS[8]  tracebacks
-- KEYS[9]  traceback-uses                 KEYS[10] full-routes
-- KEYS[11] audit                          KEYS[12] totals, without the route
-- KEYS[13] counted-routes

local entries, raw, by_time, by_reason, by_error, counters_of, routes = unpack(KEYS, 1, 7)
local tracebacks, traceback_uses, full_routes, audit_stream, totals_of, counted_routes = unpack(KEYS, 8, 13)

-- What this script has planned: id -> letter, or false when it is taken away.
local planned = {}

local function zsets(about)
  local route = about.route
  return {
    by_time .. route,
    by_reason .. about.reason .. ':' .. route,
    by_error .. about.fingerprint .. ':' .. route,
  }
end

local function counters(about)
  return counters_of .. about.route
end

local function kinds(about)
  return {'reason:' .. about.reason, 'error:' .. about.fingerprint, 'queue:' .. about.queue}
end

local function look_at(about, zset_command)
  look(entries, 'HSET', 'HDEL')
  look(raw, 'HSET', 'HDEL')
  for _, zset in ipairs(zsets(about)) do
    look(zset, zset_command, 'ZCARD')
  end
  look(full_routes, 'HSET', 'HDEL')
  look(counters(about), 'HGET', 'HSET', 'HDEL')
  for _, kind in ipairs(kinds(about)) do
    look_count(counters(about), kind)
  end
  if about.traceback then
    look(tracebacks, 'HSETNX', 'HDEL')
    look(traceback_uses, 'HDEL')
    look_count(traceback_uses, about.traceback)
  end
end

-- Totals whose key is another program's are left out, and reported.
local function plan_total(letter, total)
  local key = totals_of .. letter.about.route
  letter.totals = letter.totals or {}
  if can_count(key, total) and can(counted_routes, 'SADD') then
    table.insert(letter.totals, total)
  end
end

-- Returns nil of what is no description: somebody has written there, and one letter stops no others.
local function decode(description)
  local decodes, about = pcall(cjson.decode, description)
  if not decodes or type(about) ~= 'table' then
    return nil
  end
  for _, field in ipairs({'route', 'queue', 'reason', 'fingerprint'}) do
    if type(about[field]) ~= 'string' then
      return nil
    end
  end
  if about.traceback ~= nil and type(about.traceback) ~= 'string' then
    return nil
  end
  return about
end

-- Two messages may have one id: a duplicate, which is the same letter, or a client that gives its ids away twice,
-- whose second message is a letter of its own.
local function free_id(id, about, message)
  local candidate, copies = id, 1
  while true do
    local other, other_message
    if planned[candidate] then
      other, other_message = planned[candidate].about, planned[candidate].message
    else
      local found = read('HGET', entries, candidate)
      if not found then
        return candidate
      end
      other, other_message = decode(found) or {}, read('HGET', raw, candidate)
    end
    if about.digest and about.digest == other.digest and about.route == other.route then
      return nil
    end
    if other_message == message then
      return nil
    end
    copies = copies + 1
    candidate = id .. '~' .. copies
  end
end

-- Returns nil when this very letter is there. `at` is in microseconds.
local function plan_to_add(id, description, message, traceback, at)
  local about = decode(description) or error('no description of a letter: ' .. string.sub(description, 1, 200))
  look_at(about, 'ZADD')
  look(routes, 'SADD')
  id = free_id(id, about, message)
  if not id then
    return nil
  end
  local letter = {
    id = id, about = about, description = description, message = message, traceback = traceback,
    score = string.format('%.6f', at / 1000000),
  }
  planned[id] = letter
  return letter
end

-- The same for one that has just died.
local function plan_to_bury(id, description, message, traceback, at)
  local letter = plan_to_add(id, description, message, traceback, at)
  if letter then
    look_count(counters(letter.about), 'buried')
    plan_total(letter, 'dead')
    plan_total(letter, 'dead:' .. tostring(letter.about.reason))
  end
  return letter
end

-- Returns nil when there is no such letter, or nobody can read in which indexes it is. `counted` is where it is counted:
-- replayed or discarded.
local function plan_to_take(id, counted)
  if planned[id] ~= nil then
    return nil
  end
  look(entries, 'HDEL')
  local description = read('HGET', entries, id)
  if not description then
    return nil
  end
  local about = decode(description)
  if not about then
    return nil
  end
  look_at(about, 'ZREM')
  look_count(counters(about), counted)
  planned[id] = false
  return {id = id, about = about}
end

local function count_kinds(about, change)
  for _, kind in ipairs(kinds(about)) do
    if count(counters(about), kind, change) <= 0 and change < 0 then
      write('HDEL', counters(about), kind)
    end
  end
end

-- A client without a limit neither marks a route nor takes a mark away that another one set at its own limit.
local function mark_full(about, most)
  if most == 0 then
    most = tonumber(read('HGET', counters(about), 'limit') or '0') or 0
    if most == 0 then
      return
    end
  end
  if read('ZCARD', zsets(about)[1]) >= most then
    write('HSET', full_routes, about.route, about.queue)
    write('HSET', counters(about), 'limit', most)
  elseif write('HDEL', full_routes, about.route) == 1 then
    write('HDEL', counters(about), 'limit')
  end
end

local function write_totals(letter)
  for _, total in ipairs(letter.totals or {}) do
    write('SADD', counted_routes, letter.about.route)
    count(totals_of .. letter.about.route, total, 1)
  end
end

local function add(letter, most)
  local about = letter.about
  write('HSET', entries, letter.id, letter.description)
  write('HSET', raw, letter.id, letter.message)
  for _, zset in ipairs(zsets(about)) do
    write('ZADD', zset, letter.score, letter.id)
  end
  if about.traceback then
    write('HSETNX', tracebacks, about.traceback, letter.traceback)
    count(traceback_uses, about.traceback, 1)
  end
  write('SADD', routes, about.route)
  count_kinds(about, 1)
  mark_full(about, most)
end

local function bury(letter, most)
  add(letter, most)
  count(counters(letter.about), 'buried', 1)
  write_totals(letter)
end

local function take_away(letter, counted, most)
  local about = letter.about
  write('HDEL', entries, letter.id)
  write('HDEL', raw, letter.id)
  for _, zset in ipairs(zsets(about)) do
    write('ZREM', zset, letter.id)
  end
  if about.traceback and count(traceback_uses, about.traceback, -1) <= 0 then
    write('HDEL', traceback_uses, about.traceback)
    write('HDEL', tracebacks, about.traceback)
  end
  count_kinds(about, -1)
  mark_full(about, most)
  count(counters(about), counted, 1)
  write_totals(letter)
end

-- The steps of one command share an operation. Written first: a stream may be at the end of its numbers.
local function audit(who, action, operation, detail, changed)
  if changed > 0 then
    write('XADD', audit_stream, 'MAXLEN', '~', 20000, '*',
      'who', who, 'action', action, 'operation', operation, 'detail', detail, 'count', changed)
  end
end

local function look_at_audit()
  look(audit_stream, 'XADD')
end

local function microtime()
  return math.floor(clock() * 1000000 + 0.5)
end
