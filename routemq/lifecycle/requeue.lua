#!lua flags=allow-oom
-- Puts one message that another transport's worker held back on its queues, unless its record changed meanwhile.
--
-- KEYS[1]  unacked
-- KEYS[2]  unacked_index
-- KEYS[3]  onwards: lists to put it on
-- ARGV[1]  delivery tag
-- ARGV[2]  its record, as it was read
-- ARGV[3]  list item
--
-- Returns 1, or 0 when the record is another or gone; then nothing was done.

look(KEYS[1], 'HDEL')
look(KEYS[2], 'ZREM')
if #KEYS < 3 then
  error('no list to put the message on')
end
for index = 3, #KEYS do
  look(KEYS[index], 'LPUSH')
end
if read('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return answer(0)
end
for index = 3, #KEYS do
  write('LPUSH', KEYS[index], ARGV[3])
end
write('HDEL', KEYS[1], ARGV[1])
write('ZREM', KEYS[2], ARGV[1])
return answer(1)
