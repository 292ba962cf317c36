-- What the bin holds, added up: a hash with `letters`, `bytes`, and for each operation how many letters and bytes of it
-- there are. Where it does not agree with the operations, as after a release that did not add up, all are looked at: as
-- many there must be, and the first and the last one among them.

local function size_of(room, operation)
  local letters, bytes = string.match(read('HGET', room, operation) or '', '^(%d+) (%d+)$')
  return tonumber(letters), tonumber(bytes)
end

local function totals_of_bin(room, bins)
  local letters, bytes = tonumber(read('HGET', room, 'letters')), tonumber(read('HGET', room, 'bytes'))
  if not letters or not bytes or read('HLEN', room) ~= read('ZCARD', bins) + 2 then
    return nil
  end
  for _, place in ipairs({0, -1}) do
    local operation = read('ZRANGE', bins, place, place)[1]
    if operation and not size_of(room, operation) then
      return nil
    end
  end
  return letters, bytes
end

local function size(letters, bytes)
  return string.format('%d %d', letters, bytes)
end
