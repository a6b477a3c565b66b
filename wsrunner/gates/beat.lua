-- beat.lua: one replica's heartbeat. It renews all the replica holds, brings what the replica may
-- have missed, and does the gate's housekeeping, whoever sends it.
--
-- KEYS[1]  the gate (see common.lua)
-- ARGV     1 replica   2 its link   3 lease_us   4 step_us
--          5 cursor: what it has read of the feed   6 the highest fence it was told in a beat
--          7 version of the configuration it knows   8 "settled" once its claims are in, else ""
--          9... tickets whose position should be counted
-- Returns  {"unlinked"}   this link does not speak for the replica, or its lease ended: join first
--          {"beat", more, waiting, open, layout, cursor, feed, grants, counted, replicas,
--           version, config}
--          more      1 if another beat should follow at once
--          cursor    the feed has been told up to here; feed the seqs that left the queue since, and
--                    with a minus those that went before others
--          grants    fence, ticket, ...: grants not acknowledged yet
--          counted   ticket, tickets before it, ...: as of cursor
--          replicas  all that are alive
--          config    name, value, ... if the version differs, else empty

-- include common.lua

local FEED_PER_CALL = 500
local INBOX_PER_CALL = 100

local replica, link, lease_us, step_us = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local cursor, told, version = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

fetch('link:' .. replica, 'slots', 'held', 'waiting', 'open_at', 'fence', 'moved', 'gone', 'round',
  'tenant_slots',
  'wall', 'clock', 'claims_to', 'layout', 'rate', 'rate_us', 'rate_fence', 'config')
if text('link:' .. replica) ~= link then return {'unlinked'} end

local clock = tick(step_us)
-- A lease that ended is not renewed, even if nobody noticed yet: its slots may be given away.
if tonumber(redis.call('ZSCORE', G .. ':replicas', replica)) < clock then
  bury(replica)
  save()
  return {'unlinked'}
end
redis.call('ZADD', G .. ':replicas', clock + lease_us, replica)
local dead = redis.call('ZRANGEBYSCORE', G .. ':replicas', '-inf', '(' .. digits(clock), 'LIMIT', 0, 1)
if dead[1] then bury(dead[1]) end
local more = reap()

if number('open_at') > 0 then
  if ARGV[8] == 'settled' then redis.call('ZADD', G .. ':awaited', 0, replica) end
  if clock >= number('claims_to') or (clock >= number('open_at')
    and redis.call('ZCOUNT', G .. ':awaited', 1, 1) == 0) then
    put('open_at', 0)
    redis.call('UNLINK', G .. ':awaited')
  end
end
if grant(more and 5 or GRANTS_PER_CALL) then more = true end

local sampled = clock - number('rate_us')
if sampled >= 1000000 then
  local rate = (number('fence') - number('rate_fence')) * 1000000 / sampled
  put('rate', string.format('%.3f', 0.5 * rate + 0.5 * number('rate')))
  put('rate_us', clock)
  put('rate_fence', number('fence'))
end

-- Grants: drop what it acknowledged, tell the rest.
local inbox, grants, acknowledged = G .. ':inbox:' .. replica, {}, 0
for _, letter in ipairs(redis.call('LRANGE', inbox, 0, INBOX_PER_CALL - 1)) do
  local fence, ticket = string.match(letter, '^(%d+)\n(.*)$')
  if tonumber(fence) <= told then
    acknowledged = acknowledged + 1
  else
    grants[#grants + 1] = fence
    grants[#grants + 1] = ticket
  end
end
if acknowledged > 0 then redis.call('LTRIM', inbox, acknowledged, -1) end
if acknowledged + #grants / 2 == INBOX_PER_CALL then more = true end

-- The feed: the list's last entry has the number `moved`. It is kept as far back as a replica needs.
local key = G .. ':feed'
local length = redis.call('LLEN', key)
local before = number('moved') - length
local from = math.max(cursor - before, 0)
local feed = length > from and redis.call('LRANGE', key, from, from + FEED_PER_CALL - 1) or {}
cursor = math.max(cursor, before) + #feed
if cursor < number('moved') then more = true end
put('cursor:' .. replica, cursor)
local replicas = redis.call('ZRANGE', G .. ':replicas', 0, -1)
if length > 0 then
  local read = cursor
  for _, other in ipairs(replicas) do read = math.min(read, number('cursor:' .. other)) end
  if read > before then redis.call('LTRIM', key, read - before, -1) end
end

-- Positions that can't be derived from the feed are counted, lane by lane: with the rest of what
-- was asked for, in a later beat.
local counted = {}
if #ARGV > 8 and cursor == number('moved') and not more then
  local lanes = redis.call('ZRANGE', G .. ':lanes', 0, -1)
  for i, member in ipairs(lanes) do
    local tenant, engine = string.match(member, '^(.*)\n([^\n]*)$')
    lanes[i] = lane_key(engine, tenant)
  end
  local spare = 200
  for i = 9, #ARGV do
    local packed = redis.call('HGET', G .. ':tickets:' .. replica, ARGV[i])
    local kind, seq = split(packed or 'h\n0\n\n\n')
    if kind == 'w' then
      local ahead = 0
      for _, lane in ipairs(lanes) do
        ahead = ahead + redis.call('ZCOUNT', lane, '-inf', '(' .. digits(seq))
      end
      counted[#counted + 1] = ARGV[i]
      counted[#counted + 1] = ahead
      spare = spare - 1 - #lanes
      if spare < 0 then break end
    end
  end
end

local config = {}
if number('config') ~= version then
  local fields = redis.call('HKEYS', G)
  for _, field in ipairs(fields) do
    if string.match(field, '^cap:') or string.match(field, '^slots:')
      or string.match(field, '^queue:') or field == 'slots' or field == 'queue_max'
      or field == 'tenant_slots' or field == 'tenant_queue' then
      config[#config + 1] = field
      config[#config + 1] = text(field)
    end
  end
end
save()
return {'beat', more and 1 or 0, number('waiting'), number('open_at') == 0 and 1 or 0,
  number('layout'), cursor, feed, grants, counted, replicas, number('config'), config}
