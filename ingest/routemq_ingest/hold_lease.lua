#!lua flags=allow-oom
-- Acquire the lease if nobody has it, renew it if we have it; return who has it now.
--
-- KEYS[1]  string: the lease, its value the holder
-- ARGV[1]  who asks
-- ARGV[2]  length of the lease in milliseconds
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return holder
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
