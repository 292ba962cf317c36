-- Every script begins with these functions. Redis does not roll a script back, so all that can fail is looked at first:
-- the type of each key, what this Redis user may do with it, each argument. A script reaches Redis only by them.
--
--   look(key, command, …)      refuses the whole script unless these commands can be run on the key
--   can(key, command, …)       says whether they can; if not, the key is reported, and the script goes on without it
--   number(index)              ARGV[index] as a number
--   clock()                    the time
--   read(command, key, …)      asks Redis; after the first write only what was looked at
--   write(command, key, …)     changes a key, with a command that was looked at
--   count(key, field, change)  changes a number in a hash; look_count and can_count look at it first
--   whole()                    what was written so far is a step of its own: the next one may look again
--   answer(value)              what every script returns: the value, then a list of what was reported
--
-- What is reported, and what an error says after the word BADKEY, is JSON: the key, and either `found` and `wanted`, its
-- types, or the `command` that is not permitted, or the `field` that is no number to count with.

local WANTED = {
  LRANGE = 'list', LPUSH = 'list', RPUSH = 'list', LTRIM = 'list',
  HGET = 'hash', HSET = 'hash', HSETNX = 'hash', HDEL = 'hash', HINCRBY = 'hash',
  ZCARD = 'zset', ZSCORE = 'zset', ZRANGE = 'zset', ZRANGEBYSCORE = 'zset',
  ZADD = 'zset', ZREM = 'zset', ZREMRANGEBYSCORE = 'zset',
  SADD = 'set', XADD = 'stream', SET = 'string', EXPIRE = 'hash',
}
local types, looked, reported, has_written = {}, {}, {}, false

local function type_of(key)
  local found = types[key]
  if not found then
    found = redis.call('TYPE', key).ok
    types[key] = found
  end
  return found
end

local function problem(key, command)
  local commands = looked[key]
  if commands == nil then
    commands = {}
    looked[key] = commands
  end
  if commands[command] == nil then
    local found, wanted = type_of(key), WANTED[command] or error('no type is known for ' .. command)
    if found ~= 'none' and found ~= wanted then
      commands[command] = {key = key, found = found, wanted = wanted}
    else
      commands[command] = redis.acl_check_cmd(command, key, '0', '0') or {key = key, command = command}
    end
  end
  return commands[command] ~= true and commands[command] or nil
end

local function count_problem(key, field)
  -- Of a key that is no hash this is an error, which `problem` puts into words; of all others there is no type to be asked for.
  local value = redis.pcall('HGET', key, field)
  local is_hash = type(value) ~= 'table'
  types[key] = types[key] or is_hash and 'hash' or nil
  local found = problem(key, 'HINCRBY') or not is_hash and {key = key, command = 'HGET'}
  if not found then
    -- As Redis reads a number, and far enough from the largest one, which it does not count beyond.
    local digits = value and string.match(value, '^-?([1-9]%d*)$')
    if value and value ~= '0' and not (digits and #digits <= 18) then
      return {key = key, field = field}
    end
  end
  return found
end

local function refuse(found)
  error({err = 'BADKEY ' .. cjson.encode(found)})
end

local function report(found)
  if not reported[found.key] then
    reported[found.key] = true
    reported[#reported + 1] = cjson.encode(found)
  end
end

local function first_problem(key, ...)
  if has_written then
    error('a look at ' .. key .. ' after a write')
  end
  for index = 1, select('#', ...) do
    local found = problem(key, (select(index, ...)))
    if found then
      return found
    end
  end
end

local function look(key, ...)
  local found = first_problem(key, ...)
  if found then
    refuse(found)
  end
end

local function can(key, ...)
  local found = first_problem(key, ...)
  if found then
    report(found)
  end
  return not found
end

local function look_count(key, field)
  local found = first_problem(key) or count_problem(key, field)
  if found then
    refuse(found)
  end
end

local function can_count(key, field)
  local found = first_problem(key) or count_problem(key, field)
  if found then
    report(found)
  end
  return not found
end

local function number(index)
  local value = tonumber(ARGV[index])
  -- What is no number at all is not equal to itself, and Redis would refuse it in mid-script.
  if not value or value ~= value then
    error('argument ' .. index .. ' is no number')
  end
  return value
end

local function demand_look(command, key)
  if not looked[key] or looked[key][command] ~= true then
    error(command .. ' of ' .. key .. ', which was not looked at')
  end
end

local function read(command, key, ...)
  if has_written then
    demand_look(command, key)
  end
  return redis.call(command, key, ...)
end

local function write(command, key, ...)
  demand_look(command, key)
  has_written = true
  types[key] = WANTED[command]
  return redis.call(command, key, ...)
end

local function count(key, field, change)
  return write('HINCRBY', key, field, change)
end

local function whole()
  has_written = false
end

-- Redis' time in Unix seconds, with all its digits. It stands still during a script.
local function clock()
  local time = redis.call('TIME')
  return string.format('%d.%06d', time[1], time[2])
end

local function reports()
  return {unpack(reported)}
end

local function answer(value)
  return {value, reports()}
end

-- No script can do without a look.
local redis = nil
