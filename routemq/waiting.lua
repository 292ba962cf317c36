#!lua flags=no-writes
-- Reads a part of what waits for its time, without the bodies, which may be large.
--
-- KEYS[1]  delayed set
-- ARGV[1]  rank of the first one
-- ARGV[2]  how many at most
-- ARGV[3]  after how many bytes of them no further one is looked at
-- ARGV[4]  a message that is larger without its body is left out
--
-- Returns due times and messages in turn.
local found, bytes = {}, 0
for rank = tonumber(ARGV[1]), ARGV[1] + ARGV[2] - 1 do
  local pair = redis.call('ZRANGE', KEYS[1], rank, rank, 'WITHSCORES')
  local item = pair[1]
  if not item or bytes >= tonumber(ARGV[3]) then
    break
  end
  bytes = bytes + #item
  local _, quote = string.find(item, '"body": ?"')
  -- Within a text of JSON each quote has a backslash before it; so it cannot hold this, and need not be read.
  local last = quote and (string.find(item, '","content-encoding"', quote, true)
    or string.find(item, '", "content-encoding"', quote, true))
  if last then
    item = string.sub(item, 1, quote) .. string.sub(item, last)
  end
  found[#found + 1] = pair[2]
  found[#found + 1] = #item > tonumber(ARGV[4]) and '' or item
end
return found
