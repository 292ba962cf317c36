#!lua flags=allow-oom
-- Moves a message from a worker's hands to the dead letters, in one step. See letters.lua for KEYS[1] to KEYS[13].
--
-- KEYS[14]  unacked
-- KEYS[15]  unacked_index
-- ARGV[1]  delivery tag
-- ARGV[2]  id of the dead letter
-- ARGV[3]  its description
-- ARGV[4]  traceback, or ''
-- ARGV[5]  most dead letters of a route, 0 for any number
-- ARGV[6]  message to keep instead of the one in the record, or ''
--
-- Returns 1, or 0 when the tag is not held any more; then nothing was done.

local most = number(5)
look(KEYS[14], 'HDEL')
look(KEYS[15], 'ZREM')
local record = read('HGET', KEYS[14], ARGV[1])
if not record then
  return answer(0)
end
local message = ARGV[6]
if message == '' then
  -- Exactly the bytes before the exchange, which is nearly always '', and the queue, whose name may hold quotes; decoding
  -- and encoding them again would change numbers and empty lists.
  message = string.match(record, '^%[(.*),%s*"",%s*".*"%]$')
    or string.match(record, '^%[(.*),%s*"[^"]*",%s*"[^"]*"%]$')
    or record
end
local letter = plan_to_bury(ARGV[2], ARGV[3], message, ARGV[4], microtime())
if letter then
  bury(letter, most)
end
write('HDEL', KEYS[14], ARGV[1])
write('ZREM', KEYS[15], ARGV[1])
return answer(1)
