#!lua flags=allow-oom
-- Puts messages of dead letters that are still there back on queues. See letters.lua for KEYS[1] to KEYS[3].
--
-- KEYS[4]  list of ids of a frozen replay; any key when ARGV[5] is 0
-- KEYS[5]  hash of the frozen replay: replayed, gone, refused
-- ARGV[1]  most dead letters of a route, 0 for any number
-- ARGV[2]  who asks
-- ARGV[3]  operation, for the audit
-- ARGV[4]  detail, for the audit
-- ARGV[5]  how many ids of the frozen replay this step is about, 0 without one
-- ARGV[6]  the first of them
-- ARGV[7]  how many of them were refused
-- ARGV     from 8 on, three for each letter: id, queue (key), list item
--
-- Returns 1 or 0 for each letter, or nil when another process has taken this step of the frozen replay; then nothing
-- was done.

local frozen = tonumber(ARGV[5])
if frozen > 0 and redis.call('LINDEX', KEYS[4], 0) ~= ARGV[6] then
  return nil
end
local most = tonumber(ARGV[1])
local done, replayed = {}, 0
for index = 8, #ARGV, 3 do
  local about = take_away(ARGV[index], most)
  if about then
    redis.call('LPUSH', ARGV[index + 1], ARGV[index + 2])
    redis.call('HINCRBY', stem .. 'counters:' .. about.route, 'replayed', 1)
    redis.call('SADD', KEYS[3], about.route)
    redis.call('HINCRBY', KEYS[2] .. about.route, 'replayed', 1)
    replayed = replayed + 1
  end
  done[#done + 1] = about and 1 or 0
end
if frozen > 0 then
  redis.call('LTRIM', KEYS[4], frozen, -1)
  redis.call('HINCRBY', KEYS[5], 'replayed', replayed)
  redis.call('HINCRBY', KEYS[5], 'refused', ARGV[7])
  redis.call('HINCRBY', KEYS[5], 'gone', frozen - replayed - ARGV[7])
end
audit(ARGV[2], 'replay', ARGV[3], ARGV[4], replayed)
return done
