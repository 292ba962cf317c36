#!lua flags=allow-oom
-- Takes dead letters away: into the bin for a time, or for good. See letters.lua for KEYS[1] to KEYS[13].
--
-- KEYS[14]  the bin's letters of this operation
-- KEYS[15]  operations that have letters in the bin
-- KEYS[16]  letters of an operation, without its name
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

local function plan_to_bin()
  look(bin, 'HSET', 'HSETNX', 'EXPIRE')
  look(bins, 'ZADD', 'ZREM')
  look_count(bin, 'letters')
  look_count(bin, 'bytes')
  local others, all_letters, all_bytes = {}, 0, 0
  for _, operation in ipairs(read('ZRANGE', bins, 0, -1)) do
    local key = KEYS[16] .. operation
    look(key, 'EXPIRE')
    local other = {operation = operation, key = key,
      letters = tonumber(read('HGET', key, 'letters') or 0), bytes = tonumber(read('HGET', key, 'bytes') or 0)}
    if not other.letters or not other.bytes or other.letters == 0 then
      forgotten[#forgotten + 1] = operation
    else
      all_letters, all_bytes = all_letters + other.letters, all_bytes + other.bytes
      if operation ~= ARGV[4] then
        others[#others + 1] = other
      end
    end
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
  for _, other in ipairs(others) do
    if all_letters + #letters <= most_letters and all_bytes + wanted <= most_bytes then
      break
    end
    all_letters, all_bytes = all_letters - other.letters, all_bytes - other.bytes
    evicted[#evicted + 1] = other
  end
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
end

if kept_s > 0 and #letters > 0 then
  plan_to_bin()
end
audit(ARGV[2], ARGV[3], ARGV[4], ARGV[5], #letters)
for _, other in ipairs(evicted) do
  write('EXPIRE', other.key, 0)
  write('ZREM', bins, other.operation)
end
for _, operation in ipairs(forgotten) do
  write('ZREM', bins, operation)
end
if #binned > 0 then
  put_into_bin()
end
for _, letter in ipairs(letters) do
  take_away(letter, 'discarded', most)
end
return answer(done)
