#!lua flags=no-writes
-- Return the beginning of a dead letter's message, which may have hundreds of megabytes, and how many bytes it has.
--
-- KEYS[1]  hash: letter id → the message byte for byte
-- ARGV[1]  letter id
-- ARGV[2]  how many bytes of it
local message = redis.call('HGET', KEYS[1], ARGV[1])
if not message then
  return false
end
return { string.sub(message, 1, tonumber(ARGV[2])), #message }
