#!lua flags=allow-oom
-- Let go of a number, if it is still held by who says so; return how many were let go of.
--
-- KEYS[1]  hash: number -> '<end> <holder>'
-- ARGV[1]  who held it
-- ARGV[2]  the number
-- ARGV[3]  '1' when the MQTT broker keeps nothing for it, so that nobody need take it over; else '0'
local found = redis.call('TYPE', KEYS[1]).ok
if found ~= 'hash' then
  return 0
end
local holder = string.match(redis.call('HGET', KEYS[1], ARGV[2]) or '', '^%d+ (.+)$')
if holder ~= ARGV[1] then
  return 0
end
if ARGV[3] == '1' then
  return redis.call('HDEL', KEYS[1], ARGV[2])
end
redis.call('HSET', KEYS[1], ARGV[2], '0 -')
return 1
