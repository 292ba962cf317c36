#!lua flags=allow-oom
-- Pauses or resumes a route, and writes that down.
--
-- KEYS[1]  paused routes
-- KEYS[2]  audit
-- ARGV[1]  pause or resume
-- ARGV[2]  route
-- ARGV[3]  its description, a JSON object; the time is added
-- ARGV[4]  who asks
-- ARGV[5]  operation, for the audit
-- ARGV[6]  detail, for the audit
--
-- Returns 1, or 0 when it was so already; then nothing was done.

look(KEYS[1], 'HSET', 'HDEL')
look(KEYS[2], 'XADD')
local is_paused = read('HEXISTS', KEYS[1], ARGV[2]) == 1
if is_paused == (ARGV[1] == 'pause') then
  return answer(0)
end
if is_paused then
  write('HDEL', KEYS[1], ARGV[2])
else
  write('HSET', KEYS[1], ARGV[2], '{"at":' .. clock() .. ',' .. string.sub(ARGV[3], 2))
end
write('XADD', KEYS[2], 'MAXLEN', '~', 20000, '*',
  'who', ARGV[4], 'action', ARGV[1], 'operation', ARGV[5], 'detail', ARGV[6], 'count', 1)
return answer(1)
