#!lua flags=allow-oom
-- Marks messages as started. KEYS[1] started; ARGV[1] 'started' or 'not started'; then delivery tags.
if ARGV[1] ~= 'started' then
  return redis.call('ZREM', KEYS[1], unpack(ARGV, 2))
end
local now, entries = redis.call('TIME')[1], {}
for index = 2, #ARGV do
  entries[#entries + 1] = now
  entries[#entries + 1] = ARGV[index]
end
return redis.call('ZADD', KEYS[1], unpack(entries))
