#!lua flags=allow-oom
-- Puts messages that a worker holds and will not finish back on their queues. See hands.lua for the KEYS and for ARGV[1]
-- to ARGV[4].
--
-- ARGV[5]  unread: to the front, as if it had not been taken; returned: to the back, later each time, and counted
-- ARGV[6]  onwards: delivery tags; unread ones in the order of their delivery
--
-- Returns nothing.

if ARGV[5] == 'unread' then
  for index = #ARGV, 6, -1 do
    put_in_front(ARGV[index])
  end
else
  for index = 6, #ARGV do
    put_at_the_back(ARGV[index], 0)
  end
end
return answer(false)
