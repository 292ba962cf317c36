-- What a message that came back from a worker says of that, as its first member: `{"routemq":[deliveries,strikes],…`.
-- Further numbers may follow these two.

local function came_back(item)
  -- The letter alone tells of most that they are not; a piece of each would be a text of its own.
  return string.byte(item, 3) == 114 and string.sub(item, 1, 11) == '{"routemq":'
end

local function strikes_of(item)
  return came_back(item) and tonumber(string.match(item, '^{"routemq":%s*%[%d+,%s*(%d+)')) or 0
end

-- Returns the item with one more delivery, and its deliveries.
local function marked(item, strike)
  local deliveries, strikes, further, rest = string.match(
    item, '^{"routemq":%s*%[(%d+),%s*(%d+)([%s%d,]*)%],%s*(.*)$')
  if not deliveries then
    deliveries, strikes, further = 0, 0, ''
    rest = string.match(item, '^%s*{%s*(".*)$')
    if not rest then
      return item, 1  -- No message: whoever takes it next buries it as it is.
    end
  end
  deliveries, strikes = deliveries + 1, strikes + strike
  return string.format('{"routemq":[%d,%d%s],%s', deliveries, strikes, further, rest), deliveries
end
