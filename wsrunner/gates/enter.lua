-- enter.lua: admit a ticket, put it in the queue, or claim for it what it had before a restart.
--
-- Idempotent by ticket: sent again, it changes nothing and says where the ticket is.
--
-- KEYS[1]  the gate (see common.lua)
-- ARGV     1 replica   2 its link   3 ticket   4 engine   5 tenant
--          6 seq       the place it had in an earlier epoch; 0 if none; -1 if its replica's lease
--                      ended while it waited: it goes to the end, but is not refused
--          7 fence     the permit it held in an earlier epoch; 0 if none
-- Returns  {"unlinked"}                this link does not speak for the replica: join first
--          {"held", fence}
--          {"waits", seq, ordinal, waiting}
--                                      ordinal - moved is the number of tickets before it;
--                                      -1 if that must be counted (see beat.lua)
--          {"lost"}                    the claimed permit can't be had any more
--          {"full", whose, limit, queue_max, rate}
--                                      whose is "queue" or "tenant"; rate in grants a second

local gate, replica, link, ticket, engine, tenant = KEYS[1], unpack(ARGV)
local tickets = gate .. ':tickets:' .. replica

-- The frequent case, nobody waits and a slot is free, without what the others need: making the
-- functions of common.lua and its writing of numbers would add half as much again.
if ARGV[6] == '0' and ARGV[7] == '0' then
  local now = redis.call('HMGET', gate, 'open_at', 'waiting', 'held', 'link:' .. replica, 'slots',
    'tenant_slots', 'cap:' .. engine, 'e:' .. engine)
  if now[1] == '0' and now[2] == '0' and now[4] == link and now[3] + 0 < (now[5] or 0) + 0
    and (now[6] or '0') == '0' and (not now[7] or (now[8] or 0) + 0 < now[7] + 0) then
    redis.call('HINCRBY', gate, 'fence', 1)
    local fence = redis.call('HGET', gate, 'fence')
    local packed = 'h\n' .. fence .. '\n' .. engine .. '\n' .. tenant
    if redis.call('HSETNX', tickets, ticket, packed) == 1 then
      redis.call('HINCRBY', gate, 'held', 1)
      redis.call('HINCRBY', gate, 'e:' .. engine, 1)
      if tenant ~= '' then redis.call('HINCRBY', gate, 't:' .. tenant, 1) end
      return {'held', fence + 0}
    end
    redis.call('HINCRBY', gate, 'fence', -1)
  end
end

-- include common.lua

local seq, fence = tonumber(ARGV[6]), tonumber(ARGV[7])

fetch('link:' .. replica, 'slots', 'held', 'waiting', 'open_at', 'fence', 'cap:' .. engine,
  'e:' .. engine, 't:' .. tenant, 'tenant_slots')
if text('link:' .. replica) ~= link then return {'unlinked'} end

local packed = redis.call('HGET', tickets, ticket)
if packed then
  local kind, count = split(packed)
  if kind == 'h' then return {'held', count} end
  return {'waits', count, -1, number('waiting')}
end

local claims = (seq > 0 or fence > 0) and number('clock') < number('claims_to')
if fence > 0 then
  if not claims then return {'lost'} end
  put('fence', math.max(number('fence'), fence))
  hold(replica, ticket, fence, engine, tenant)
  refresh_engine(engine)
  save()
  return {'held', fence}
end
if seq > 0 and claims then
  put('seq', math.max(number('seq'), seq))
  add('layout', 1)
  wait(replica, ticket, seq, engine, tenant)
  -- It may come before its lane's first.
  refresh_lane(engine, tenant)
  refresh_engine(engine)
  save()
  return {'waits', seq, -1, number('waiting')}
end

-- Whoever could run has been granted, unless a call stopped early and left engines ready.
if number('open_at') == 0 and number('held') < number('slots')
  and engine_free(engine) and tenant_free(tenant)
  and (number('waiting') == 0 or redis.call('EXISTS', G .. ':ready') == 0) then
  add('fence', 1)
  hold(replica, ticket, number('fence'), engine, tenant)
  save()
  return {'held', number('fence')}
end

fetch('seq', 'moved', 'queue_max', 'tenant_queue', 'w:' .. tenant, 'rate')
local ahead, queue_max, share = number('waiting'), number('queue_max'), number('tenant_queue')
-- A ticket that waited before is over no limit: the queue took it once.
if seq == 0 then
  if ahead >= queue_max then return {'full', 'queue', ahead, queue_max, text('rate') or '0'} end
  if tenant ~= '' and share > 0 and number('w:' .. tenant) >= share then
    return {'full', 'tenant', share, queue_max, text('rate') or '0'}
  end
end
add('seq', 1)
wait(replica, ticket, number('seq'), engine, tenant)
local ordinal = ahead + number('moved')
grant(GRANTS_PER_CALL)
save()
return {'waits', number('seq'), ordinal, ahead + 1}
