#!lua flags=allow-oom
-- Moves a message from a worker's hands to the dead letters, in one step. See letters.lua for KEYS[1] to KEYS[3].
--
-- KEYS[4]  unacked, hash: delivery tag -> record `[message, exchange, routing key]`
-- KEYS[5]  unacked_index, zset: delivery tag -> time of delivery
-- ARGV[1]  delivery tag
-- ARGV[2]  id of the dead letter
-- ARGV[3]  its description
-- ARGV[4]  traceback, or ''
-- ARGV[5]  most dead letters of a route, 0 for any number
-- ARGV[6]  message to keep instead of the one in the record, or ''
--
-- Returns 1, or 0 when the tag is not held any more; then nothing was done.

local record = redis.call('HGET', KEYS[4], ARGV[1])
if not record then
  return 0
end
local message = ARGV[6]
if message == '' then
  -- Exactly the bytes between the brackets; decoding and encoding them again would change numbers and empty lists.
  message = string.match(record, '^%[(.*),%s*"[^"]*",%s*"[^"]*"%]$') or record
end
local is_new, about = add(ARGV[2], ARGV[3], message, ARGV[4], microtime(), tonumber(ARGV[5]))
if is_new then
  count_death(about)
end
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
return 1
