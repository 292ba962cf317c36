-- Moves retries that are due to the back of their queue; fetch.lua and promote.lua begin with it.

local MOST_WAIT_MS = 1e12

-- Returns the milliseconds until the next one is due; nil when none waits, or one of the keys is another program's.
local function move_due(delayed, list, now, most)
  if type_of(delayed) == 'none' or not can(delayed, 'ZRANGEBYSCORE', 'ZRANGE', 'ZREM') or not can(list, 'LPUSH') then
    return nil
  end
  local due = read('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, most)
  if #due > 0 then
    write('LPUSH', list, unpack(due))
    write('ZREM', delayed, unpack(due))
    whole()
  end
  local first = read('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  -- Of a time that never comes Redis would make a negative number.
  return first[2] and math.max(0, math.min(MOST_WAIT_MS, math.ceil((tonumber(first[2]) - now) * 1000)))
end

local function sooner(one, other)
  return one and other and math.min(one, other) or one or other
end
