#!lua flags=allow-oom
-- Moves what was set aside back to the front of its queue. Those that were set aside last are moved first, so that the
-- oldest is in front in the end.
--
-- KEYS[1]  delayed set
-- KEYS[2]  its queue
-- ARGV[1]  what was added to the time of those that were set aside
-- ARGV[2]  set aside until this time, Unix seconds
-- ARGV[3]  most messages to move
--
-- Returns how many were moved.

look(KEYS[1], 'ZRANGE', 'ZREM')
look(KEYS[2], 'RPUSH')
local least, greatest = ARGV[1], string.format('%.6f', number(1) + number(2))
local found = read('ZRANGE', KEYS[1], greatest, least, 'BYSCORE', 'REV', 'LIMIT', 0, number(3))
if #found > 0 then
  write('RPUSH', KEYS[2], unpack(found))
  write('ZREM', KEYS[1], unpack(found))
end
return answer(#found)
