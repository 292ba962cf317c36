#!lua flags=allow-oom
-- Say that an ingest process is there, and what it asks of the group; return who has the shared routes without $share,
-- whether the MQTT broker serves them to it, and who else is there.
--
-- KEYS[1]  hash: MQTT client id -> '<end> <wish>', what it wishes (always, never, auto) and until when it counts, in
--          Unix milliseconds
-- KEYS[2]  string: '<1 or 0> <client id>', whether the broker serves them, and to whom alone; expires
-- ARGV[1]  client id of who asks
-- ARGV[2]  its wish; empty to leave the group
-- ARGV[3]  how long it counts from now on, in milliseconds
-- ARGV[4]  how long KEYS[2] lasts, in milliseconds
-- ARGV[5]  '1' to have KEYS[2] if nobody has it, '0' to let go of it
-- ARGV[6]  '1' when the broker serves it, else '0'
local types = {KEYS[1], 'hash', KEYS[2], 'string'}
for i = 1, 4, 2 do
  local found = redis.call('TYPE', types[i]).ok
  if found ~= 'none' and found ~= types[i + 1] then
    return redis.error_reply('WRONGTYPE ' .. types[i] .. ' is a ' .. found .. ', and must be a ' .. types[i + 1])
  end
end
local lasts, holds = tonumber(ARGV[3]), tonumber(ARGV[4])
if not lasts or not holds then
  return redis.error_reply('ERR a length of time is no number')
end
local value, left = redis.call('GET', KEYS[2]), redis.call('PTTL', KEYS[2])
local serves, holder = string.match(value or '', '^([01]) (.+)$')
if value and (not holder or left < 0) then
  return redis.error_reply('NOHOLDER another program has set ' .. KEYS[2] .. '; rename or delete it')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local gone, members = {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local ends, wish = string.match(all[i + 1], '^(%d+) (%a+)$')
  if all[i] ~= ARGV[1] then
    if not ends or tonumber(ends) < now then
      gone[#gone + 1] = all[i]
    else
      members[#members + 1] = all[i]
      members[#members + 1] = wish
    end
  end
end
for i = 1, #gone do
  redis.call('HDEL', KEYS[1], gone[i])
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now + lasts, ARGV[2]))
end

if ARGV[5] == '1' and (not holder or holder == ARGV[1]) then
  serves, holder = ARGV[6], ARGV[1]
  redis.call('SET', KEYS[2], serves .. ' ' .. holder, 'PX', holds)
elseif ARGV[5] == '0' and holder == ARGV[1] then
  redis.call('DEL', KEYS[2])
  serves, holder = nil, nil
elseif holder and left > holds then
  -- A clock that was put back must not keep it for a holder that is gone.
  redis.call('PEXPIRE', KEYS[2], holds)
end
return {holder or '', serves or '0', members}
