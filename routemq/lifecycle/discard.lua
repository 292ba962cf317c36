#!lua flags=allow-oom
-- Takes dead letters away for good. See letters.lua for KEYS[1] to KEYS[3].
--
-- ARGV[1]  most dead letters of a route, 0 for any number
-- ARGV[2]  who asks
-- ARGV[3]  what it is called in the audit: discard, purge or archive
-- ARGV[4]  operation, for the audit
-- ARGV[5]  detail, for the audit
-- ARGV     from 6 on: ids
--
-- Returns 1 or 0 for each id.

local most = tonumber(ARGV[1])
local done, discarded = {}, 0
for index = 6, #ARGV do
  local about = take_away(ARGV[index], most)
  if about then
    redis.call('HINCRBY', stem .. 'counters:' .. about.route, 'discarded', 1)
    discarded = discarded + 1
  end
  done[#done + 1] = about and 1 or 0
end
audit(ARGV[2], ARGV[3], ARGV[4], ARGV[5], discarded)
return done
