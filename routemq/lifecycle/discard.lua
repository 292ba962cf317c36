#!lua flags=allow-oom
-- Takes dead letters away for good. See letters.lua for KEYS[1] to KEYS[13].
--
-- ARGV[1]  most dead letters of a route, 0 for any number
-- ARGV[2]  who asks
-- ARGV[3]  what it is called in the audit: discard, purge or archive
-- ARGV[4]  operation, for the audit
-- ARGV[5]  detail, for the audit
-- ARGV     from 6 on: ids
--
-- Returns 1 or 0 for each id.

local most = number(1)
look_at_audit()
local letters, done = {}, {}
for index = 6, #ARGV do
  local letter = plan_to_take(ARGV[index], 'discarded')
  letters[#letters + 1] = letter
  done[#done + 1] = letter and 1 or 0
end
audit(ARGV[2], ARGV[3], ARGV[4], ARGV[5], #letters)
for _, letter in ipairs(letters) do
  take_away(letter, 'discarded', most)
end
return answer(done)
