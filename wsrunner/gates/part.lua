-- part.lua: a replica closes; all it has goes back at once.
--
-- KEYS[1]  the gate (see common.lua)
-- ARGV     1 replica   2 its link
-- Returns  tickets it still has here: call again until 0. (If it can't, the others' beats go on.)

-- include common.lua

local replica, link = ARGV[1], ARGV[2]

if text('link:' .. replica) == link then bury(replica) end
reap()
grant(5)
save()
return redis.call('HLEN', G .. ':tickets:' .. replica)
