-- enter.lua: admit a ticket, put it in the queue, or claim for it what it had before a restart.
--
-- Idempotent by ticket: sent again, it changes nothing and says where the ticket is.
--
-- Users take turns: a lane is served in rounds, with one ticket of each user in a round, in the
-- order in which they came. A ticket's round is decided here, and stays. (turns.py does the same for
-- the gate in memory.)
--
-- KEYS[1]  the gate (see common.lua)
-- ARGV     1 replica   2 its link   3 ticket   4 engine   5 tenant   6 user
--          7 seq       the place it had in an earlier epoch; 0 if none; -1 if its replica's lease
--                      ended while it waited: it goes to the end, but is not refused
--          8 fence     the permit it held in an earlier epoch; 0 if none
-- Returns  {"unlinked"}                this link does not speak for the replica: join first
--          {"held", fence}
--          {"waits", seq, ordinal, waiting, ahead}
--                                      ahead is the number of tickets before it, -1 if unknown;
--                                      ordinal is ahead + gone if it is the last of all, -1 if its
--                                      position must be counted to be followed (see beat.lua)
--          {"lost"}                    the claimed permit can't be had any more
--          {"full", whose, limit, queue_max, rate}
--                                      whose is "queue", "tenant", or "user" (limit is then what it
--                                      has in the queue); rate in grants a second

local gate, replica, link, ticket, engine, tenant, user = KEYS[1], unpack(ARGV)
local tickets = gate .. ':tickets:' .. replica

-- The frequent case, nobody waits and a slot is free, without what the others need: making the
-- functions of common.lua and its writing of numbers would add half as much again.
if ARGV[7] == '0' and ARGV[8] == '0' then
  local now = redis.call('HMGET', gate, 'open_at', 'waiting', 'held', 'link:' .. replica, 'slots',
    'tenant_slots', 'cap:' .. engine, 'e:' .. engine, 'slots:' .. tenant, 't:' .. tenant)
  local share = (tenant ~= '' and (now[9] or now[6]) or 0) + 0
  if now[1] == '0' and now[2] == '0' and now[4] == link and now[3] + 0 < (now[5] or 0) + 0
    and (share == 0 or (now[10] or 0) + 0 < share)
    and (not now[7] or (now[8] or 0) + 0 < now[7] + 0) then
    redis.call('HINCRBY', gate, 'fence', 1)
    local fence = redis.call('HGET', gate, 'fence')
    local packed = 'h\n' .. fence .. '\n' .. engine .. '\n' .. tenant .. '\n' .. user
    if redis.call('HSETNX', tickets, ticket, packed) == 1 then
      redis.call('HINCRBY', gate, 'held', 1)
      redis.call('HINCRBY', gate, 'e:' .. engine, 1)
      if tenant ~= '' then redis.call('HINCRBY', gate, 't:' .. tenant, 1) end
      if user ~= '' then
        redis.call('HINCRBY', gate .. ':users', 'h\n' .. tenant .. '\n' .. user, 1)
      end
      return {'held', fence + 0}
    end
    redis.call('HINCRBY', gate, 'fence', -1)
  end
end

-- include common.lua

local LANES_COUNTED = 20

-- What the user has in the gate already: permits, and tickets in the queue.
local function standing()
  if user == '' then return 0, 0 end
  local name = '\n' .. tenant .. '\n' .. user
  local found = redis.call('HMGET', G .. ':users', 'h' .. name, 'w' .. name)
  return tonumber(found[1] or 0), tonumber(found[2] or 0)
end

-- Why the queue has no room for one more, and the number that says so. A user may have no more
-- waiting than there are free places, so that nobody alone fills the queue, nor a tenant's share.
local function no_room(own)
  local waiting, share = number('waiting'), share_of(tenant, 'queue')
  local free = number('queue_max') - waiting
  if free <= 0 then return 'queue', waiting end
  if share > 0 then
    local left = share - number('w:' .. tenant)
    if left <= 0 then return 'tenant', share end
    free = math.min(free, left)
  end
  if own > 0 and own >= free then return 'user', own end
end

-- The ticket's place: in its lane's current round, or the next one if the user holds a permit, or
-- the one after the user's last ticket there. A lane begins in the latest round of all.
local function place(holds)
  add('number', 1)
  if number('number') == NUMBERS then
    -- So that what comes is not put before what has come: once in half a million.
    put('number', 0)
    add('round', 1)
    for _, member in ipairs(redis.call('ZRANGE', G .. ':lanes', 0, -1)) do
      local other, on = string.match(member, '^(.*)\n([^\n]*)$')
      redis.call('ZINCRBY', turns_key(on, other), 1, '')
    end
  end
  local turns = turns_key(engine, tenant)
  local found = redis.call('ZMSCORE', turns, '', user)
  local round = tonumber(found[1] or number('round'))
  if not found[1] then redis.call('ZADD', turns, digits(round), '') end
  if user ~= '' then
    if holds then round = round + 1 end
    if found[2] then round = math.max(round, tonumber(found[2]) + 1) end
    redis.call('ZADD', turns, digits(round), user)
  end
  return round * NUMBERS + number('number')
end

-- How many wait before a place; -1 if there are too many lanes to count.
local function before(seq)
  local lanes = redis.call('ZRANGE', G .. ':lanes', 0, LANES_COUNTED)
  if #lanes > LANES_COUNTED then return -1 end
  local ahead = 0
  for _, member in ipairs(lanes) do
    local other, on = string.match(member, '^(.*)\n([^\n]*)$')
    ahead = ahead + redis.call('ZCOUNT', lane_key(on, other), '-inf', '(' .. digits(seq))
  end
  return ahead
end

local seq, fence = tonumber(ARGV[7]), tonumber(ARGV[8])

fetch('link:' .. replica, 'slots', 'held', 'waiting', 'open_at', 'fence', 'cap:' .. engine,
  'e:' .. engine, 't:' .. tenant, 'tenant_slots', 'slots:' .. tenant)
if text('link:' .. replica) ~= link then return {'unlinked'} end

local packed = redis.call('HGET', tickets, ticket)
if packed then
  local kind, count = split(packed)
  if kind == 'h' then return {'held', count} end
  return {'waits', count, -1, number('waiting'), -1}
end

local claims = (seq > 0 or fence > 0) and number('clock') < number('claims_to')
if fence > 0 then
  if not claims then return {'lost'} end
  put('fence', math.max(number('fence'), fence))
  hold(replica, ticket, fence, engine, tenant, user)
  refresh_engine(engine)
  save()
  return {'held', fence}
end
if seq > 0 and claims then
  add('layout', 1)
  -- Whoever comes now comes after all who had a place.
  local turns, round = turns_key(engine, tenant), math.floor(seq / NUMBERS)
  put('round', math.max(number('round'), round + 1))
  redis.call('ZADD', turns, 'GT', digits(number('round')), '')
  if user ~= '' then redis.call('ZADD', turns, 'GT', digits(round), user) end
  add_user('w', tenant, user, 1)
  wait(replica, ticket, seq, engine, tenant, user)
  save()
  return {'waits', seq, -1, number('waiting'), -1}
end

-- Whoever could run has been granted, unless a call stopped early and left engines ready.
if number('open_at') == 0 and number('held') < number('slots')
  and engine_free(engine) and tenant_free(tenant)
  and (number('waiting') == 0 or redis.call('EXISTS', G .. ':ready') == 0) then
  add('fence', 1)
  hold(replica, ticket, number('fence'), engine, tenant, user)
  save()
  return {'held', number('fence')}
end

fetch('round', 'number', 'last', 'moved', 'gone', 'queue_max', 'tenant_queue', 'queue:' .. tenant,
  'w:' .. tenant, 'rate')
local holds, own = standing()
-- A ticket that waited before is over no limit: the queue took it once.
local whose, limit = no_room(own)
if whose and seq == 0 then
  return {'full', whose, limit, number('queue_max'), text('rate') or '0'}
end
local waiting = number('waiting')
seq = place(holds > 0)
add_user('w', tenant, user, 1)
local is_last = waiting == 0 or seq > number('last')
local ahead = is_last and waiting or before(seq)
local ordinal = is_last and ahead + number('gone') or -1
if not is_last then
  redis.call('RPUSH', G .. ':feed', '-' .. digits(seq))
  add('moved', 1)
  add('gone', -1)
end
wait(replica, ticket, seq, engine, tenant, user)
grant(GRANTS_PER_CALL)
save()
return {'waits', seq, ordinal, waiting + 1, ahead}
