#!lua flags=allow-oom
-- Hold one of a group's numbers, each the end of an MQTT client id; return it, whether it was held before, and which
-- numbers were left behind: their holders are gone, and the MQTT broker may have messages for them.
--
-- KEYS[1]  hash: number -> '<end> <holder>', until when it is held, in Unix milliseconds, and by whom
-- ARGV[1]  who asks
-- ARGV[2]  for how long, in milliseconds
-- ARGV[3]  the number that is wanted, if it is free; empty for any: one that was left behind, else a new one
-- ARGV[4]  '1' for no other than that, and only if it was left behind; else '0'
local found = redis.call('TYPE', KEYS[1]).ok
if found ~= 'none' and found ~= 'hash' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' is a ' .. found .. ', and must be a hash')
end
local lasts = tonumber(ARGV[2])
if not lasts then
  return redis.error_reply('ERR a length of time is no number')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local mine, taken, left, cut = nil, {}, {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if string.match(all[i], '^%d%d?%d?%d?$') then
    local ends, holder = string.match(all[i + 1], '^(%d+) (.+)$')
    ends = tonumber(ends or 0)
    taken[all[i]] = true
    if holder == ARGV[1] then
      mine = all[i]
    elseif ends <= now then
      left[#left + 1] = all[i]
    elseif ends > now + lasts then
      -- A clock that was put back must not keep it for a holder that is gone.
      cut[#cut + 1] = {all[i], holder}
    end
  end
end
table.sort(left, function(a, b) return tonumber(a) < tonumber(b) end)

local number, held = mine, mine and 1 or 0
if not number and ARGV[4] == '1' then
  for i = 1, #left do
    number = number or (left[i] == ARGV[3] and left[i] or nil)
  end
elseif not number then
  local is_left = {}
  for i = 1, #left do is_left[left[i]] = true end
  if ARGV[3] ~= '' and (is_left[ARGV[3]] or not taken[ARGV[3]]) then
    number = ARGV[3]
  elseif left[1] then
    number = left[1]
  else
    local next_one = 0
    while taken[tostring(next_one)] do next_one = next_one + 1 end
    number = tostring(next_one)
  end
end

for i = 1, #cut do
  redis.call('HSET', KEYS[1], cut[i][1], string.format('%.0f %s', now + lasts, cut[i][2]))
end
if number then
  redis.call('HSET', KEYS[1], number, string.format('%.0f %s', now + lasts, ARGV[1]))
end
local others = {}
for i = 1, #left do
  if left[i] ~= number then others[#others + 1] = left[i] end
end
return {number or '', held, others}
