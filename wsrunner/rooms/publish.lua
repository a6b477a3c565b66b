-- Adds what a room's home has decided to its entries, and lets it live on.
--
-- KEYS[1]  record (hash)    KEYS[2]  entries (stream; the id is number-0)
-- ARGV[1]  the home's replica    ARGV[2]  life of the keys, ms
-- ARGV[3]  id before which entries are needed no more; '' for all are
-- ARGV[4]  '1' if the room is over, else '0'    ARGV[5]  how long its end can be read then, ms
-- ARGV[6…] id and content of each entry
--
-- Returns 'there'; 'absent' if there is no record, or no entries; 'lost' if another replica is its
-- home. An error where Redis takes nothing, being full maybe: what is missing has to come again.
local home = redis.call('HGET', KEYS[1], 'home')
if not home then return 'absent' end
if home ~= ARGV[1] then return 'lost' end
-- Given up by a Redis that is short of memory: what comes now says not all that the room is.
if redis.call('EXISTS', KEYS[2]) == 0 then return 'absent' end
for at = 6, #ARGV, 2 do
  local added = redis.pcall('XADD', KEYS[2], ARGV[at], 'e', ARGV[at + 1])
  -- One that is there already, after a reply that got lost, is refused for its id.
  if type(added) == 'table' and added.err and not string.find(added.err, 'equal or smaller', 1, true) then
    return added
  end
end
if ARGV[3] ~= '' then redis.call('XTRIM', KEYS[2], 'MINID', ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if ARGV[4] == '1' then
  redis.call('DEL', KEYS[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return 'there'
