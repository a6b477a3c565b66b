-- leave.lua: end a ticket, waiting or holding, and grant what that frees.
--
-- Idempotent, and harmless when late: it acts only on this replica's own ticket and only on the
-- grant it names, so a holder that lost its lease can't free somebody else's slot.
--
-- KEYS[1]  the gate (see common.lua)
-- ARGV     1 replica   2 its link   3 ticket   4 fence of the permit; 0 for whatever it has
--          5 its engine   6 its tenant: only to read all counters at once
-- Returns  {"unlinked"}   this link does not speak for the replica: join first
--          {"left"}, or {"none"} if there was nothing to end

local replica, link, ticket, engine, tenant = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6]

fetch('link:' .. replica, 'slots', 'held', 'waiting', 'open_at', 'fence', 'moved', 'tenant_slots',
  'cap:' .. engine, 'e:' .. engine, 't:' .. tenant, 'w:' .. tenant)
if text('link:' .. replica) ~= link then return {'unlinked'} end
if not drop(replica, ticket, tonumber(ARGV[4])) then return {'none'} end
grant(GRANTS_PER_CALL)
save()
return {'left'}
