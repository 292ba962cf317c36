-- Functions to add a dead letter and to take one away; the scripts of this folder begin with them.
--
-- KEYS[1]  stem of the dead letters' keys, '<prefix>routemq:dlq:'
-- KEYS[2]  stem of the routes' counters, '<prefix>routemq:counters:'
-- KEYS[3]  routes that have counters, set
--
-- Under the stem KEYS[1]:
--   entries, raw             hashes: id -> description (JSON), message byte for byte
--   by-time:<route>, by-reason:<reason>:<route>, by-error:<fingerprint>:<route>
--                            zsets: id -> time of death, Unix seconds
--   counters:<route>         hash: buried, replayed, discarded; and how many are there: reason:<…>, error:<…>,
--                            queue:<…>; limit: at which it was marked full
--   routes                   set: routes that have, or had, dead letters
--   tracebacks, traceback-uses
--                            hashes: digest -> text, how many letters have it
--   full-routes              hash: route that has as many dead letters as it may -> its queue
--   audit                    capped stream: who, action, count, operation, detail

local stem = KEYS[1]
local entries, raw = stem .. 'entries', stem .. 'raw'

local function microtime()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function zsets(id, about)
  local route = about.route
  return stem .. 'by-time:' .. route,
    stem .. 'by-reason:' .. about.reason .. ':' .. route,
    stem .. 'by-error:' .. about.fingerprint .. ':' .. route
end

local function count(counters, field, change)
  if redis.call('HINCRBY', counters, field, change) <= 0 and change < 0 then
    redis.call('HDEL', counters, field)
  end
end

local function count_what_is_there(about, change)
  local counters = stem .. 'counters:' .. about.route
  count(counters, 'reason:' .. about.reason, change)
  count(counters, 'error:' .. about.fingerprint, change)
  count(counters, 'queue:' .. about.queue, change)
end

-- A client without a limit neither marks a route nor takes a mark away that another one set at its own limit.
local function mark_full(about, most)
  local counters, full = stem .. 'counters:' .. about.route, stem .. 'full-routes'
  if most == 0 then
    most = tonumber(redis.call('HGET', counters, 'limit') or '0')
    if most == 0 then
      return
    end
  end
  if redis.call('ZCARD', stem .. 'by-time:' .. about.route) >= most then
    redis.call('HSET', full, about.route, about.queue)
    redis.call('HSET', counters, 'limit', most)
  elseif redis.call('HDEL', full, about.route) == 1 then
    redis.call('HDEL', counters, 'limit')
  end
end

-- Two messages may have one id: a duplicate, which is the same letter, or a client that gives its ids away twice,
-- whose second message is a letter of its own.
local function free_id(id, about, message)
  local candidate, number = id, 1
  while true do
    local found = redis.call('HGET', entries, candidate)
    if not found then
      return candidate
    end
    local other = cjson.decode(found)
    if about.digest and about.digest == other.digest and about.route == other.route then
      return nil
    end
    if redis.call('HGET', raw, candidate) == message then
      return nil
    end
    number = number + 1
    candidate = id .. '~' .. number
  end
end

-- Returns whether the letter is a new one; `at` is in microseconds.
local function add(id, description, message, traceback, at, most)
  local about = cjson.decode(description)
  id = free_id(id, about, message)
  if not id then
    return false
  end
  local score = string.format('%.6f', at / 1000000)
  redis.call('HSET', entries, id, description)
  redis.call('HSET', raw, id, message)
  for _, zset in ipairs({zsets(id, about)}) do
    redis.call('ZADD', zset, score, id)
  end
  if about.traceback then
    redis.call('HSETNX', stem .. 'tracebacks', about.traceback, traceback)
    redis.call('HINCRBY', stem .. 'traceback-uses', about.traceback, 1)
  end
  redis.call('SADD', stem .. 'routes', about.route)
  count_what_is_there(about, 1)
  mark_full(about, most)
  return true, about
end

local function count_death(about)
  redis.call('HINCRBY', stem .. 'counters:' .. about.route, 'buried', 1)
  redis.call('SADD', KEYS[3], about.route)
  redis.call('HINCRBY', KEYS[2] .. about.route, 'dead', 1)
end

-- Returns what the description said, or nil when there is no such letter.
local function take_away(id, most)
  local description = redis.call('HGET', entries, id)
  if not description then
    return nil
  end
  local about = cjson.decode(description)
  redis.call('HDEL', entries, id)
  redis.call('HDEL', raw, id)
  for _, zset in ipairs({zsets(id, about)}) do
    redis.call('ZREM', zset, id)
  end
  if about.traceback and redis.call('HINCRBY', stem .. 'traceback-uses', about.traceback, -1) <= 0 then
    redis.call('HDEL', stem .. 'traceback-uses', about.traceback)
    redis.call('HDEL', stem .. 'tracebacks', about.traceback)
  end
  count_what_is_there(about, -1)
  mark_full(about, most)
  return about
end

-- Written in the same step as the change itself; the steps of one command share an operation.
local function audit(who, action, operation, detail, changed)
  if changed > 0 then
    redis.call('XADD', stem .. 'audit', 'MAXLEN', '~', 20000, '*',
      'who', who, 'action', action, 'operation', operation, 'detail', detail, 'count', changed)
  end
end
