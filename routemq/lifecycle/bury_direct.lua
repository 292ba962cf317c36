#!lua flags=allow-oom
-- Adds messages that never were on a queue to the dead letters, and counts them as received. See letters.lua for
-- KEYS[1] to KEYS[13].
--
-- ARGV[1]  most dead letters of a route, 0 for any number
-- ARGV     from 2 on, four for each letter: id, description, message, traceback or ''
--
-- Returns how many were not there yet.

local most, now = number(1), microtime()
local letters = {}
for index = 2, #ARGV, 4 do
  -- Redis' clock stands still during a script; a microsecond apart, letters keep their order.
  local letter = plan_to_bury(
    ARGV[index], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3], now + #letters)
  if letter then
    plan_total(letter, 'received')
    letters[#letters + 1] = letter
  end
end
for _, letter in ipairs(letters) do
  bury(letter, most)
end
return answer(#letters)
