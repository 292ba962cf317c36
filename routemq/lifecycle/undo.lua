#!lua flags=allow-oom
-- Brings letters back from the bin, with the times they had. See letters.lua for KEYS[1] to KEYS[13].
--
-- KEYS[14]  the bin's letters of an operation
-- KEYS[15]  operations that have letters in the bin
-- KEYS[16]  what the bin holds, added up; see bin.lua
-- ARGV[1]  most dead letters of a route, 0 for any number
-- ARGV[2]  who asks
-- ARGV[3]  operation, for the audit
-- ARGV[4]  detail, for the audit
-- ARGV[5]  the operation that is undone
-- ARGV     from 6 on: ids
--
-- Returns how many were in the bin, and how many of these are letters again; the others had come back already.

local most = number(1)
local bin, bins, room = KEYS[14], KEYS[15], KEYS[16]
look_at_audit()
look(bin, 'HGET', 'HDEL', 'EXPIRE')
look(bins, 'ZREM')
look(room, 'HSET', 'HDEL')
look_count(bin, 'letters')
look_count(bin, 'bytes')
local letters, taken, bytes = {}, {}, 0
for index = 6, #ARGV do
  local field = 'letter:' .. ARGV[index]
  local kept = read('HGET', bin, field)
  local died_at, description, message = string.match(kept or '', '^(%S+)\n([^\n]*)\n(.*)$')
  local about = died_at and tonumber(died_at) and decode(description)
  if about then
    local traceback = about.traceback and read('HGET', bin, 'traceback:' .. about.traceback)
    letters[#letters + 1] = plan_to_add(
      ARGV[index], description, message, traceback or '', math.floor(tonumber(died_at) * 1000000 + 0.5))
    taken[#taken + 1] = field
    bytes = bytes + #kept - #died_at - 2
  end
end
local all_letters, all_bytes = totals_of_bin(room, bins)
local in_it, bytes_in_it = size_of(room, ARGV[5])
audit(ARGV[2], 'undo', ARGV[3], ARGV[4], #letters)
for _, letter in ipairs(letters) do
  add(letter, most)
end
if #taken > 0 then
  for _, field in ipairs(taken) do
    write('HDEL', bin, field)
  end
  count(bin, 'bytes', -bytes)
  local is_empty = count(bin, 'letters', -#taken) <= 0
  if is_empty then
    write('EXPIRE', bin, 0)
    write('ZREM', bins, ARGV[5])
    write('HDEL', room, ARGV[5])
  end
  if all_letters and in_it then
    -- With the last letter goes all there was, the tracebacks as well.
    local letters_less, bytes_less = is_empty and in_it or #taken, is_empty and bytes_in_it or bytes
    write('HSET', room, 'letters', string.format('%d', all_letters - letters_less),
      'bytes', string.format('%d', all_bytes - bytes_less))
    if not is_empty then
      write('HSET', room, ARGV[5], size(in_it - letters_less, bytes_in_it - bytes_less))
    end
  end
end
return answer({#taken, #letters})
