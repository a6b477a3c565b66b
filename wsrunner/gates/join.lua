-- join.lua: let a connection speak for a replica; begin a new epoch if Redis restarted or is empty.
--
-- Every connection starts with it. Commands that an earlier connection left on the way are refused
-- from then on, so they can't come late and put back what was ended meanwhile.
--
-- KEYS[1]  the gate (see common.lua)
-- ARGV     1 replica   2 link, new for every connection   3 the server's run id   4 name to show
--          5 lease_us   6 step_us, the most one call moves the clock
--          7 settle_us, the least time a new epoch waits for claims
--          8 epoch the replica was in; 0 if none
--          9 D, the number of declared settings; then D times name, value
--          then K, the number of settings last seen; then K times name, value
--          then the replicas last seen
-- Returns  {verdict, epoch, moved, gone}
--          verdict "kept"   the replica is known and all it had is as it was
--                  "new"    it has nothing here
--                  "claim"  a new epoch: it should claim what it has, then beat with "settled"
--                  "gone"   its lease ended: it must come back under another id

-- include common.lua

local replica, link, run, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_us, step_us, settle_us = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local old_epoch = tonumber(ARGV[8])

local at = 9
local function pairs_at()
  local list = {}
  for _ = 1, tonumber(ARGV[at]) do
    list[#list + 1] = {ARGV[at + 1], ARGV[at + 2]}
    at = at + 2
  end
  at = at + 1
  return list
end
local declared, seen = pairs_at(), pairs_at()

if text('run') ~= run then
  local replicas = redis.call('ZRANGE', G .. ':replicas', 0, -1)
  for _, dying in ipairs(redis.call('SMEMBERS', G .. ':dying')) do
    replicas[#replicas + 1] = dying
  end
  for _, other in ipairs(replicas) do
    redis.call('UNLINK', G .. ':tickets:' .. other, G .. ':inbox:' .. other)
  end
  for _, member in ipairs(redis.call('ZRANGE', G .. ':lanes', 0, -1)) do
    local tenant, engine = string.match(member, '^(.*)\n([^\n]*)$')
    redis.call('UNLINK', lane_key(engine, tenant), turns_key(engine, tenant), G .. ':heads:' .. engine)
  end
  redis.call('UNLINK', G .. ':replicas', G .. ':dying', G .. ':awaited', G .. ':lanes',
    G .. ':ready', G .. ':feed', G .. ':users')
  for _, field in ipairs(redis.call('HKEYS', G)) do
    if string.match(field, '^[etw]:') or string.match(field, '^link:')
      or string.match(field, '^name:') or string.match(field, '^cursor:') then
      redis.call('HDEL', G, field)
      cache[field] = false
    end
  end
  -- A small hash is searched from its front: what every enter reads comes first.
  redis.call('HSET', G, 'open_at', 0, 'waiting', 0, 'held', 0, 'fence', number('fence'))
  local wall = wall_us()
  local start = math.max(wall, number('fence') + 1, number('epoch') + 1)
  put('run', run)
  put('epoch', start)
  put('round', math.max(math.floor(wall / 125000), number('round') + 1))
  put('number', 0)
  put('fence', start)
  put('wall', wall)
  put('clock', wall)
  put('open_at', wall + settle_us)
  put('claims_to', wall + lease_us)
  for _, field in ipairs({'held', 'waiting', 'moved', 'gone', 'last', 'layout', 'rate'}) do put(field, 0) end
  put('rate_us', wall)
  put('rate_fence', start)
end
local clock = tick(step_us)

-- What a replica declares counts when it differs from what was declared before; in between, what
-- was set or taken away at run time stays. After a loss of data, what replicas last saw is put back.
local lost = not text('slots')
local known = {}
for _, setting in ipairs(seen) do known[setting[1]] = setting[2] end
for _, setting in ipairs(declared) do
  local field, value = setting[1], setting[2]
  local before = text('d:' .. field)
  if before and before ~= value or not before and not text(field) then
    put(field, not before and known[field] or value)
    add('config', 1)
  end
  put('d:' .. field, value)
end
for field, value in pairs(known) do
  if lost and not text(field) then
    put(field, value)
    add('config', 1)
  end
end

local lease_end = redis.call('ZSCORE', G .. ':replicas', replica)
if lease_end and tonumber(lease_end) < clock then
  bury(replica)
  lease_end = false
end
local verdict
if redis.call('SISMEMBER', G .. ':dying', replica) == 1 then
  verdict = 'gone'
elseif old_epoch > 0 and old_epoch ~= number('epoch') then
  verdict = 'claim'
elseif lease_end then
  verdict = 'kept'
else
  verdict = old_epoch > 0 and 'gone' or 'new'
end
if verdict == 'gone' then
  save()
  return {verdict, number('epoch'), number('moved'), number('gone')}
end
if verdict == 'claim' and number('open_at') > 0 then
  redis.call('ZADD', G .. ':awaited', 1, replica)
  for i = at, #ARGV do redis.call('ZADD', G .. ':awaited', 'NX', 1, ARGV[i]) end
end
if verdict ~= 'kept' then
  put('cursor:' .. replica, number('moved'))
  put('name:' .. replica, name)
end
put('link:' .. replica, link)
redis.call('ZADD', G .. ':replicas', clock + lease_us, replica)
save()
return {verdict, number('epoch'), number('moved'), number('gone')}
