#!lua flags=allow-oom
-- Acquire the lease if nobody has it, renew it if we have it; return who has it now.
--
-- KEYS[1]  string: the lease, its value the holder
-- ARGV[1]  who asks
-- ARGV[2]  length of the lease in milliseconds
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left < 0 then
    return redis.error_reply('NOLEASE it never expires, so another program has set it; rename or delete it')
  end
  if left > tonumber(ARGV[2]) then
    -- A clock that was put back must not keep it for a holder that is gone.
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
  end
  return holder
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
