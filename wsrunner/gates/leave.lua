-- leave.lua: end a ticket, waiting or holding, and grant what that frees.
--
-- Idempotent, and harmless when late: it acts only on this replica's own ticket and only on the
-- grant it names, so a holder that lost its lease can't free somebody else's slot.
--
-- KEYS[1]  the gate (see common.lua)
-- ARGV     1 replica   2 its link   3 ticket   4 fence of the permit; 0 for whatever it has
--          5 its engine   6 its tenant   7 its user
-- Returns  {"unlinked"}   this link does not speak for the replica: join first
--          {"left"}, or {"none"} if there was nothing to end

local gate, replica, link, ticket, fence, engine, tenant, user = KEYS[1], unpack(ARGV)
local tickets = gate .. ':tickets:' .. replica

-- The frequent case, nobody waits, without what the others need (see enter.lua).
local now = redis.call('HMGET', gate, 'waiting', 'link:' .. replica)
if now[2] ~= link then return {'unlinked'} end
if now[1] == '0' then
  local packed = redis.call('HGET', tickets, ticket)
  if not packed then return {'none'} end
  local ours = '\n' .. engine .. '\n' .. tenant .. '\n' .. user
  if packed == 'h\n' .. fence .. ours
    or fence == '0' and string.match(packed, '^h\n%d+(\n.*)$') == ours then
    redis.call('HDEL', tickets, ticket)
    redis.call('HINCRBY', gate, 'held', -1)
    if redis.call('HINCRBY', gate, 'e:' .. engine, -1) == 0 then
      redis.call('HDEL', gate, 'e:' .. engine)
    end
    if tenant ~= '' and redis.call('HINCRBY', gate, 't:' .. tenant, -1) == 0 then
      redis.call('HDEL', gate, 't:' .. tenant)
    end
    local holds = 'h\n' .. tenant .. '\n' .. user
    if user ~= '' and redis.call('HINCRBY', gate .. ':users', holds, -1) == 0 then
      redis.call('HDEL', gate .. ':users', holds)
    end
    return {'left'}
  end
end

-- include common.lua

fetch('slots', 'held', 'waiting', 'open_at', 'fence', 'moved', 'gone', 'round',
  'tenant_slots', 'slots:' .. tenant, 'cap:' .. engine, 'e:' .. engine, 't:' .. tenant, 'w:' .. tenant)
if not drop(replica, ticket, tonumber(fence)) then return {'none'} end
grant(GRANTS_PER_CALL)
save()
return {'left'}
