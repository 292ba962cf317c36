#!lua flags=allow-oom
-- Puts messages whose lease ran out at the back of their queues, with a strike for what was running; a part at a time. See
-- hands.lua for the KEYS and for ARGV[1] to ARGV[4].
--
-- ARGV[5]  how long a lease lasts, seconds
-- ARGV[6]  the same for workers with Celery's own transport, which do not renew
-- ARGV[7]  the latest time that Redis' clock can show, Unix seconds; when it shows a later one, nothing is done
-- ARGV[8]  most messages to look at
-- ARGV[9]  time of the last message that the part before looked at and left, or ''
-- ARGV[10] its delivery tag
--
-- Returns: the time; how many were restored; 1 if there is more to look at; the time and the tag of the last message
-- that was left, or '' twice; then the tags of records that another transport has written.

local own_until, others_until, latest, most = now - number(5), now - number(6), number(7), number(8)
local left_at, left_tag = ARGV[9], ARGV[10]
local restored = 0

local function result(more)
  return answer({now, restored, more and 1 or 0, left_at, left_tag, unpack(others)})
end

if tonumber(now) > latest then
  return result(false)
end

look(KEYS[2], 'ZADD', 'ZRANGE', 'ZRANGEBYSCORE', 'ZSCORE')
has_marks = has_marks and can(KEYS[3], 'ZSCORE', 'ZREMRANGEBYSCORE')

-- What was looked at and left is stepped over, however much it is.
local rank = 0
if left_at ~= '' then
  if read('ZSCORE', KEYS[2], left_tag) == left_at then
    rank = read('ZRANK', KEYS[2], left_tag) + 1
  else
    rank = read('ZCOUNT', KEYS[2], '-inf', '(' .. left_at)
  end
end

local looked_at = 0
while true do
  local found = read('ZRANGE', KEYS[2], rank, rank + 99, 'WITHSCORES')
  for index = 1, #found, 2 do
    local tag, at = found[index], found[index + 1]
    if tonumber(at) > own_until then
      break
    end
    looked_at = looked_at + 1
    if string.sub(tag, 1, 8) == 'routemq:' or tonumber(at) <= others_until then
      if put_at_the_back(tag, has_marks and read('ZSCORE', KEYS[3], tag) and 1 or 0) then
        restored = restored + 1
      end
    end
    if read('ZSCORE', KEYS[2], tag) then
      rank, left_at, left_tag = rank + 1, at, tag
    end
  end
  if #found < 200 or tonumber(found[#found]) > own_until then
    break
  end
  if looked_at >= most then
    return result(true)
  end
end

-- Times from a clock that was ahead would keep a dead worker's messages for as long as it was.
for _, tag in ipairs(read('ZRANGEBYSCORE', KEYS[2], string.format('(%.6f', now + 60), '+inf', 'LIMIT', 0, most)) do
  write('ZADD', KEYS[2], now, tag)
end
if has_marks then
  write('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.6f', now - 86400))
end
return result(false)
