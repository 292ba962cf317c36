#!lua flags=allow-oom
-- Takes dead letters away: into the bin for a time, or for good. See letters.lua for KEYS[1] to KEYS[13].
--
-- KEYS[14]  the bin's letters of this operation
-- KEYS[15]  operations that have letters in the bin
-- KEYS[16]  letters of an operation, without its name
-- KEYS[17]  what the bin holds, added up; see bin.lua
-- ARGV[1]  most dead letters of a route, 0 for any number
-- ARGV[2]  who asks
-- ARGV[3]  what it is called in the audit: discard, purge or archive
-- ARGV[4]  operation, for the audit
-- ARGV[5]  detail, for the audit
-- ARGV[6]  seconds that they stay in the bin, 0 when they go for good
-- ARGV[7]  most letters in the bin
-- ARGV[8]  most bytes in the bin
-- ARGV     from 9 on: ids
--
-- Where the bin has no room the operations leave it that were put into it first, and of one that is larger than the bin
-- what comes last goes for good.
--
-- Returns 1 or 0 for each id.

local most, kept_s, most_letters, most_bytes = number(1), number(6), number(7), number(8)
local bin, bins = KEYS[14], KEYS[15]
look_at_audit()
local letters, done = {}, {}
for index = 9, #ARGV do
  local letter = plan_to_take(ARGV[index], 'discarded')
  letters[#letters + 1] = letter
  done[#done + 1] = letter and 1 or 0
end

local binned, evicted, forgotten, bytes, now = {}, {}, {}, 0, clock()
local room, all_letters, all_bytes, sizes = KEYS[17], 0, 0, nil

-- Adds up all there is, of every operation.
local function add_up(operations)
  sizes = {}
  for _, operation in ipairs(operations) do
    local key = KEYS[16] .. operation
    look(key, 'EXPIRE')
    local in_it, bytes_in_it = tonumber(read('HGET', key, 'letters') or 0), tonumber(read('HGET', key, 'bytes') or 0)
    if not in_it or not bytes_in_it or in_it == 0 then
      forgotten[#forgotten + 1] = operation
    else
      sizes[#sizes + 1] = operation
      sizes[#sizes + 1] = size(in_it, bytes_in_it)
      all_letters, all_bytes = all_letters + in_it, all_bytes + bytes_in_it
    end
  end
end

-- Leaves out what has expired. Those that were put into it first expire first; at most so many that nobody has to wait.
local function leave_out_expired()
  for _, operation in ipairs(read('ZRANGE', bins, 0, 499)) do
    local key = KEYS[16] .. operation
    look(key, 'EXPIRE')
    if read('HEXISTS', key, 'letters') == 1 then
      return
    end
    local in_it, bytes_in_it = size_of(room, operation)
    all_letters, all_bytes = all_letters - (in_it or 0), all_bytes - (bytes_in_it or 0)
    forgotten[#forgotten + 1] = operation
  end
end

local function make_room(letters_wanted, bytes_wanted)
  local is_forgotten = {}
  for _, operation in ipairs(forgotten) do
    is_forgotten[operation] = true
  end
  local first = 0
  while true do
    local operations = read('ZRANGE', bins, first, first + 499)
    for _, operation in ipairs(operations) do
      if all_letters + letters_wanted <= most_letters and all_bytes + bytes_wanted <= most_bytes then
        return
      end
      if operation ~= ARGV[4] and not is_forgotten[operation] then
        local key = KEYS[16] .. operation
        look(key, 'EXPIRE')
        all_letters = all_letters - (tonumber(read('HGET', key, 'letters') or 0) or 0)
        all_bytes = all_bytes - (tonumber(read('HGET', key, 'bytes') or 0) or 0)
        evicted[#evicted + 1] = {operation = operation, key = key}
      end
    end
    if #operations < 500 then
      return
    end
    first = first + 500
  end
end

local function plan_to_bin()
  look(bin, 'HGET', 'HSET', 'HSETNX', 'EXPIRE')
  look(bins, 'ZADD', 'ZREM')
  look(room, 'HSET', 'HDEL', 'EXPIRE')
  look_count(bin, 'letters')
  look_count(bin, 'bytes')
  local letters_there, bytes_there = totals_of_bin(room, bins)
  if letters_there then
    all_letters, all_bytes = letters_there, bytes_there
    leave_out_expired()
  else
    add_up(read('ZRANGE', bins, 0, -1))
  end
  local wanted, seen = 0, {}
  for _, letter in ipairs(letters) do
    local about = letter.about
    letter.died_at = read('ZSCORE', zsets(about)[1], letter.id) or '0'
    -- A line of its own in the bin; JSON has line breaks between its values alone.
    letter.description = string.gsub(read('HGET', entries, letter.id), '\n', ' ')
    letter.message = read('HGET', raw, letter.id) or ''
    letter.bytes = #letter.description + #letter.message
    local field = about.traceback and 'traceback:' .. about.traceback
    if field and not seen[field] and read('HEXISTS', bin, field) == 0 then
      seen[field] = true
      letter.traceback = read('HGET', tracebacks, about.traceback)
      letter.bytes = letter.bytes + #(letter.traceback or '')
    end
    wanted = wanted + letter.bytes
  end
  make_room(#letters, wanted)
  for _, letter in ipairs(letters) do
    if all_letters + #binned < most_letters and all_bytes + bytes + letter.bytes <= most_bytes then
      binned[#binned + 1] = letter
      bytes = bytes + letter.bytes
    end
  end
end

local function put_into_bin()
  for _, letter in ipairs(binned) do
    write('HSET', bin, 'letter:' .. letter.id, letter.died_at .. '\n' .. letter.description .. '\n' .. letter.message)
    if letter.traceback then
      write('HSETNX', bin, 'traceback:' .. letter.about.traceback, letter.traceback)
    end
  end
  write('HSET', bin, 'who', ARGV[2], 'detail', ARGV[5], 'at', now)
  count(bin, 'letters', #binned)
  count(bin, 'bytes', bytes)
  write('EXPIRE', bin, kept_s)
  write('ZADD', bins, now, ARGV[4])
  write('HSET', room, ARGV[4], size(read('HGET', bin, 'letters'), read('HGET', bin, 'bytes')))
end

if kept_s > 0 and #letters > 0 then
  plan_to_bin()
end
audit(ARGV[2], ARGV[3], ARGV[4], ARGV[5], #letters)
if sizes then
  write('EXPIRE', room, 0)
  for first = 1, #sizes, 1000 do
    write('HSET', room, unpack(sizes, first, math.min(first + 999, #sizes)))
  end
end
for _, other in ipairs(evicted) do
  write('EXPIRE', other.key, 0)
  forgotten[#forgotten + 1] = other.operation
end
for _, operation in ipairs(forgotten) do
  write('ZREM', bins, operation)
  write('HDEL', room, operation)
end
if #binned > 0 then
  put_into_bin()
end
if kept_s > 0 and #letters > 0 then
  write('HSET', room, 'letters', string.format('%d', all_letters + #binned), 'bytes', string.format('%d', all_bytes + bytes))
end
for _, letter in ipairs(letters) do
  take_away(letter, 'discarded', most)
end
return answer(done)
