#!lua flags=allow-oom
-- End the lease if we still have it; return how many were ended.
--
-- KEYS[1]  string: the lease, its value the holder
-- ARGV[1]  who releases
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
