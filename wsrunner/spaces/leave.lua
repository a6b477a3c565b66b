-- Lets any replica have a workspace; may be asked for again.
--
-- KEYS[1]  the workspace (hash)
-- ARGV[1]  who leaves it         ARGV[2]  what it takes to go on with it
-- ARGV[3]  what it is made of    ARGV[4]  how long it waits, ms    ARGV[5]  its age, ms
--
-- Returns 1 if it was theirs, or is left by them already; 0 if another one has it.
local owner, left = unpack(redis.call('HMGET', KEYS[1], 'owner', 'left'))
if owner == '' and left == ARGV[2] then return 1 end
if owner and owner ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local born_ms = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[5]
redis.call('HSET', KEYS[1], 'owner', '', 'last', ARGV[1], 'left', ARGV[2], 'made', ARGV[3], 'born_ms', born_ms)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
