#!lua flags=allow-oom
-- Puts messages of dead letters that are still there back on queues. See letters.lua for KEYS[1] to KEYS[13].
--
-- KEYS[14]  list of ids of a frozen replay; any key when ARGV[5] is 0
-- KEYS[15]  the frozen replay
-- ARGV[1]  most dead letters of a route, 0 for any number
-- ARGV[2]  who asks
-- ARGV[3]  operation, for the audit
-- ARGV[4]  detail, for the audit
-- ARGV[5]  how many ids of the frozen replay this step is about, 0 without one
-- ARGV[6]  the first of them
-- ARGV[7]  how many of them were refused
-- ARGV[8]  seconds that each letter of the frozen replay takes, 0 for no time; whoever replays them
-- ARGV     from 9 on, three for each letter: id, queue (key), list item
--
-- Returns 1 or 0 for each letter, or nil when another process has taken this step of the frozen replay, or the one
-- before has not had its time; then nothing was done.

local most, frozen, refused, each_s = number(1), number(5), number(7), number(8)
-- What a step may begin too early, for what the way to Redis takes: the rate is that of longer times.
local CREDIT_S = 0.2
local now, next_at = tonumber(clock()), nil
look_at_audit()
if frozen > 0 then
  look(KEYS[14], 'LTRIM')
  look(KEYS[15], 'HSET')
  for _, field in ipairs({'replayed', 'refused', 'gone'}) do
    look_count(KEYS[15], field)
  end
  if read('LINDEX', KEYS[14], 0) ~= ARGV[6] then
    return answer(false)
  end
  if each_s > 0 then
    next_at = tonumber(read('HGET', KEYS[15], 'next_at') or now) or now
    -- No step takes longer: the time is that of a clock which was ahead, or of somebody who is slower; or no number.
    if not (next_at <= now + math.max(1, each_s)) then
      next_at = now
    end
    if next_at > now then
      return answer(false)
    end
  end
end
local letters, done = {}, {}
for index = 9, #ARGV, 3 do
  local letter = plan_to_take(ARGV[index], 'replayed')
  if letter then
    letter.queue, letter.item = ARGV[index + 1], ARGV[index + 2]
    look(letter.queue, 'LPUSH')
    plan_total(letter, 'replayed')
    letters[#letters + 1] = letter
  end
  done[#done + 1] = letter and 1 or 0
end
audit(ARGV[2], 'replay', ARGV[3], ARGV[4], #letters)
for _, letter in ipairs(letters) do
  take_away(letter, 'replayed', most)
  write('LPUSH', letter.queue, letter.item)
end
if frozen > 0 then
  write('LTRIM', KEYS[14], frozen, -1)
  if next_at then
    local due = math.max(next_at, now - CREDIT_S) + each_s * #letters
    write('HSET', KEYS[15], 'next_at', string.format('%.6f', due))
  end
  count(KEYS[15], 'replayed', #letters)
  count(KEYS[15], 'refused', refused)
  count(KEYS[15], 'gone', frozen - #letters - refused)
end
return answer(done)
