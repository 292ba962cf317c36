#!lua flags=allow-oom
-- Adds messages that never were on a queue to the dead letters. See letters.lua for KEYS[1] to KEYS[3].
--
-- ARGV[1]  most dead letters of a route, 0 for any number
-- ARGV     from 2 on, four for each letter: id, description, message, traceback or ''
--
-- Returns how many were not there yet.

local most = tonumber(ARGV[1])
local now = microtime()
local added = 0
for index = 2, #ARGV, 4 do
  -- Redis' clock stands still during a script; a microsecond apart, letters keep their order.
  local is_new, about = add(ARGV[index], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3], now + added, most)
  if is_new then
    count_death(about)
    added = added + 1
  end
end
return added
