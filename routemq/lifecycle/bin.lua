-- What the bin holds, added up: a hash with `letters`, `bytes`, and for each operation how many letters and bytes of it
-- there are. Where it does not agree with the operations, as after a release that did not add up, all are looked at.

local function size_of(room, operation)
  local letters, bytes = string.match(read('HGET', room, operation) or '', '^(%d+) (%d+)$')
  return tonumber(letters), tonumber(bytes)
end

local function totals_of_bin(room, bins)
  local letters, bytes = tonumber(read('HGET', room, 'letters')), tonumber(read('HGET', room, 'bytes'))
  if letters and bytes and read('HLEN', room) == read('ZCARD', bins) + 2 then
    return letters, bytes
  end
  return nil
end

local function size(letters, bytes)
  return string.format('%d %d', letters, bytes)
end
