-- Makes another replica a room's home, if its home is the one that it is thought to be.
--
-- KEYS[1]  record    ARGV[1]  the home so far; '' for none    ARGV[2]  the new one, likewise
--
-- Returns the replica that is its home by now; false if there is no record.
local home = redis.call('HGET', KEYS[1], 'home')
if home == ARGV[1] then
  redis.call('HSET', KEYS[1], 'home', ARGV[2])
  return ARGV[2]
end
return home
