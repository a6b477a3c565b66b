-- Adds what a room's home has decided to its entries, and lets it live on.
--
-- KEYS[1]  record (hash)    KEYS[2]  entries (stream; the id is number-0)
-- ARGV[1]  the home's replica    ARGV[2]  life of the keys, ms
-- ARGV[3]  id before which entries are needed no more; '' for all are
-- ARGV[4]  '1' if the room is over, else '0'    ARGV[5]  how long its end can be read then, ms
-- ARGV[6]  number of the entry before these
-- ARGV[7…] number and content of each entry
--
-- Returns 'there'; 'absent' if there is no record, or not all entries before these; 'lost' if another
-- replica is its home. An error where Redis takes nothing, being full maybe.
local home, last = unpack(redis.call('HMGET', KEYS[1], 'home', 'last'))
if not home then return 'absent' end
if home ~= ARGV[1] then return 'lost' end
-- Given up by a Redis that is short of memory, or lost by one that died: what comes now does not say
-- all that the room is. Of one that is over nobody asks what it was.
local has_all = redis.call('EXISTS', KEYS[2]) == 1 and tonumber(last) >= tonumber(ARGV[6])
if not has_all and ARGV[4] == '0' then return 'absent' end
for at = 7, #ARGV, 2 do
  local added = redis.pcall('XADD', KEYS[2], ARGV[at] .. '-0', 'e', ARGV[at + 1])
  if type(added) ~= 'table' then
    redis.call('HSET', KEYS[1], 'last', ARGV[at])
  elseif not string.find(added.err, 'equal or smaller', 1, true) then
    return added
  end -- else it is there already, after a reply that got lost
end
if ARGV[3] ~= '' then redis.call('XTRIM', KEYS[2], 'MINID', ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if ARGV[4] == '1' then
  redis.call('DEL', KEYS[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return 'there'
