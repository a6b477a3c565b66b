-- Adds events to a kept run's stream, and lets it live on.
--
-- KEYS[1]  record (hash)     KEYS[2]  events (stream; the id is seq-0, or 0-n in the queue)
-- KEYS[3]  what its once began
-- ARGV[1]  the run's id      ARGV[2]  life of the keys, ms      ARGV[3]  id before which events are given up
-- ARGV[4]  '1' if the once may be used again: the run was refused
-- ARGV[5…] id, mark ('x' for the run's end, else 'e') and content of each event
--
-- Returns the id of the last event that is there ('0-0' for none); 'absent' if there is no record;
-- 'lost' if others have given this replica up.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'absent' end
if redis.call('HEXISTS', KEYS[1], 'lost') == 1 then return 'lost' end
for at = 5, #ARGV, 3 do
  -- An event that is there already, after a reply that got lost, is refused for its id.
  redis.pcall('XADD', KEYS[2], 'MINID', '~', ARGV[3], ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if redis.call('GET', KEYS[3]) == ARGV[1] then
  if ARGV[4] == '1' then redis.call('DEL', KEYS[3]) else redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
return last[1] and last[1][1] or '0-0'
