#!lua flags=allow-oom
-- Moves a message from a worker's hands to the dead letters, in one step. See letters.lua for KEYS[1] to KEYS[13].
--
-- KEYS[14]  unacked
-- KEYS[15]  unacked_index
-- KEYS[16]  replayed messages of which nothing is known
-- KEYS[17]  what is known of others
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
-- The letter is named after its message, which somebody may have replayed who waits for what becomes of it.
local run = string.gsub(ARGV[2], ':(%d+)~?%d*$', '.%1')
local is_watched = can(KEYS[16], 'HDEL') and type_of(KEYS[16]) ~= 'none' and can(KEYS[17], 'HSET', 'EXPIRE')
local note = is_watched and read('HGET', KEYS[16], run)
local letter = plan_to_bury(ARGV[2], ARGV[3], message, ARGV[4], microtime())
if letter then
  bury(letter, most)
end
write('HDEL', KEYS[14], ARGV[1])
write('ZREM', KEYS[15], ARGV[1])
if note then
  write('HSET', KEYS[17], run, 'died ' .. clock() .. ' ' .. note)
  write('EXPIRE', KEYS[17], 86400)
  write('HDEL', KEYS[16], run)
end
return answer(1)
