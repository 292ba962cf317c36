#!lua flags=allow-oom
-- Adds dead letters from a file, with the times they had. See letters.lua for KEYS[1] to KEYS[13].
--
-- KEYS[14]  how far the file is imported
-- ARGV[1]  most dead letters of a route, 0 for any number
-- ARGV[2]  who asks
-- ARGV[3]  operation, for the audit
-- ARGV[4]  detail, for the audit
-- ARGV[5]  lines that were imported before this step
-- ARGV[6]  lines that are imported after it
-- ARGV[7]  seconds after which the count of lines is forgotten
-- ARGV     from 8 on, five for each letter: id, description, message, traceback or '', time of death in microseconds
--
-- Returns how many were not there yet, or nil when another process has taken this step; then nothing was done.

local most, kept_s = number(1), number(7)
look(KEYS[14], 'SET')
look_at_audit()
if (read('GET', KEYS[14]) or '0') ~= ARGV[5] then
  return answer(false)
end
local letters = {}
for index = 8, #ARGV, 5 do
  letters[#letters + 1] = plan_to_add(
    ARGV[index], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3], number(index + 4))
end
audit(ARGV[2], 'import', ARGV[3], ARGV[4], #letters)
for _, letter in ipairs(letters) do
  add(letter, most)
end
write('SET', KEYS[14], ARGV[6], 'EX', kept_s)
return answer(#letters)
