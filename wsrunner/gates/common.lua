-- common.lua: what every script of the gate shares; gates/redis.py puts it where they say.
--
-- KEYS[1] is the gate's hash, "{prefix}:gate". All other keys are made from it, so that the one hash
-- tag puts them in one slot of a Redis Cluster. Only commands and options of Redis 6.2 are used.
--
-- Keys (G is KEYS[1], R a replica's id, E an engine, T a tenant, U one of its users; "\n" joins names)
--   G               hash, the counters and the configuration:
--     run             run id of the Redis server that wrote all this; another one means a restart
--     epoch           when this life of the gate began, us; a new one begins after a restart
--     wall, clock     the server's time last seen, and the gate's own time made of it, us
--     open_at         nobody is granted before this clock and while replicas are awaited; 0 is open
--     claims_to       clock until which replicas may claim what they had in an earlier epoch
--     fence           the last grant given; it starts at the wall clock, so that it grows over a
--                     restart without data too
--     round, number   the latest round that was served (see enter.lua), and the last number given: a
--                     place in the queue, a "seq", is round * NUMBERS + number. Rounds start at the
--                     wall clock, in eighths of a second: it runs faster than rounds do in the long
--                     run, so that places grow over a restart without data too
--     last            the highest place given since nobody waited
--     held, waiting   permits out, tickets queued
--     moved           entries that the feed ever had in this epoch: its end
--     gone            tickets among them that left the queue, less those that went before others
--     layout          claimed places so far: when it grows, counted positions are void
--     slots, queue_max, tenant_slots, tenant_queue, cap:E, slots:T, queue:T
--                     the configuration; d:<name> is what a replica last declared for it
--     config          version of the configuration
--     e:E, t:T, w:T   permits out by engine, by tenant, tickets queued by tenant; gone at zero
--     link:R, name:R, cursor:R
--                     the connection that may speak for R, "engine name", what it has read of the feed
--     rate, rate_us, rate_fence
--                     grants a second, and the clock and fence of its last sample
--   G:replicas      zset  R -> clock at which its lease ends
--   G:dying         set   replicas whose lease ended and that still have tickets here
--   G:awaited       zset  replicas that should claim: 1 expected, 0 done
--   G:tickets:R     hash  ticket -> "w\nseq\nE\nT\nU" waiting, or "h\nfence\nE\nT\nU" holding
--   G:users         hash  of each user in the gate: "h\nT\nU" -> permits out, "w\nT\nU" -> tickets
--                         queued; gone at zero
--   G:inbox:R       list  "fence\nticket": grants to waiters of R that it has not acknowledged
--   G:lane:E\nT     zset  "R\nU\nticket" -> seq: who waits for engine E as tenant T
--   G:turns:E\nT    zset  U -> the round of its last ticket in that lane, if that is not past;
--                         "" -> the current round there, "\n" -> grants until it closes;
--                         gone with the lane
--   G:lanes         zset  "T\nE" -> 0: the lanes that are not empty
--   G:heads:E       zset  T -> first seq of its lane: tenants below their share
--   G:ready         zset  E -> first seq of its heads: engines with spare capacity
--   G:feed          list  seqs that left the queue, and with a minus those that went before others;
--                         its last entry has the number `moved`
-- Channel
--   G:grants:R      "fence\nticket" lines, published by the script that granted
--
-- Costs: no script walks the queue. What is done in bulk stops at these numbers and is continued by
-- the next call, so that no script runs much more than 200 commands.

local REAPED_PER_CALL = 15
local GRANTS_PER_CALL = 15
local NUMBERS = 2 ^ 19 -- with rounds of 34 bits a place is exact in a zset's score until 2038
local G = KEYS[1]

local cache, dirty = {}, {}

-- Fields of G are read once and written once, by save().
local function fetch(...)
  local names = {...}
  local values = redis.call('HMGET', G, ...)
  for i = 1, #names do cache[names[i]] = values[i] end
end

local function text(name)
  local value = cache[name]
  if value == nil then
    value = redis.call('HGET', G, name)
    cache[name] = value
  end
  return value
end

local function number(name)
  return tonumber(text(name) or 0)
end

local function put(name, value)
  cache[name] = value
  dirty[name] = true
end

local function add(name, change)
  put(name, number(name) + change)
end

local function save()
  local set, del = {}, {}
  for name in pairs(dirty) do
    local value = cache[name]
    -- Tenants and engines come and go for ever: e:, t: and w: are dropped at zero.
    if value == false or (value == 0 and string.sub(name, 2, 2) == ':') then
      del[#del + 1] = name
    else
      set[#set + 1] = name
      set[#set + 1] = value
    end
  end
  if #set > 0 then redis.call('HSET', G, unpack(set)) end
  if #del > 0 then redis.call('HDEL', G, unpack(del)) end
  dirty = {}
end

-- tostring() of Lua 5.1 keeps 14 digits; seqs and fences have 16.
local function digits(value)
  return string.format('%.0f', value)
end

local function split(packed)
  local kind, count, engine, tenant, user =
    string.match(packed, '^(.)\n(%d+)\n([^\n]*)\n([^\n]*)\n(.*)$')
  return kind, tonumber(count), engine, tenant, user
end

local function wall_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The gate's own clock: it never goes back, and one call moves it by at most step_us, so that
-- leases survive a frozen server and a stepped clock.
local function tick(step_us)
  local wall = wall_us()
  local passed = wall - number('wall')
  put('wall', wall)
  if passed > 0 then
    put('clock', number('clock') + math.min(passed, step_us))
  end
  return number('clock')
end

local function engine_free(engine)
  local cap = text('cap:' .. engine)
  return not cap or number('e:' .. engine) < tonumber(cap)
end

-- Nobody's tickets, those of the tenant "", are bound by no share and not counted.
local function share_of(tenant, what)
  if tenant == '' then return 0 end
  return tonumber(text(what .. ':' .. tenant) or text('tenant_' .. what) or 0)
end

local function tenant_free(tenant)
  local share = share_of(tenant, 'slots')
  return share == 0 or number('t:' .. tenant) < share
end

-- Nobody's tickets, those of the user "", are not counted either.
local function add_user(letter, tenant, user, change)
  if user == '' then return end
  local name = '\n' .. tenant .. '\n' .. user
  if redis.call('HINCRBY', G .. ':users', letter .. name, change) == 0 then
    redis.call('HDEL', G .. ':users', letter .. name)
  end
end

local function add_tenant(letter, tenant, change)
  if tenant ~= '' then add(letter .. ':' .. tenant, change) end
end

local function lane_key(engine, tenant)
  return G .. ':lane:' .. engine .. '\n' .. tenant
end

local function turns_key(engine, tenant)
  return G .. ':turns:' .. engine .. '\n' .. tenant
end

local function refresh_engine(engine)
  local first = engine_free(engine)
    and redis.call('ZRANGE', G .. ':heads:' .. engine, 0, 0, 'WITHSCORES')
  if first and first[1] then
    redis.call('ZADD', G .. ':ready', first[2], engine)
  else
    redis.call('ZREM', G .. ':ready', engine)
  end
end

local function refresh_lane(engine, tenant)
  local first = redis.call('ZRANGE', lane_key(engine, tenant), 0, 0, 'WITHSCORES')
  if not first[1] then
    redis.call('ZREM', G .. ':lanes', tenant .. '\n' .. engine)
    redis.call('UNLINK', turns_key(engine, tenant))
  end
  if first[1] and tenant_free(tenant) then
    redis.call('ZADD', G .. ':heads:' .. engine, first[2], tenant)
  else
    redis.call('ZREM', G .. ':heads:' .. engine, tenant)
  end
end

-- A tenant reached its share or fell below it: its lanes on all engines change.
local function refresh_tenant(tenant)
  local from, to = '[' .. tenant .. '\n', '(' .. tenant .. '\11'
  for _, member in ipairs(redis.call('ZRANGEBYLEX', G .. ':lanes', from, to)) do
    local engine = string.match(member, '\n([^\n]*)$')
    refresh_lane(engine, tenant)
    refresh_engine(engine)
  end
end

local function wait(replica, ticket, seq, engine, tenant, user)
  local lane, member = lane_key(engine, tenant), replica .. '\n' .. user .. '\n' .. ticket
  redis.call('ZADD', lane, digits(seq), member)
  redis.call('HSET', G .. ':tickets:' .. replica, ticket,
    'w\n' .. digits(seq) .. '\n' .. engine .. '\n' .. tenant .. '\n' .. user)
  if number('waiting') == 0 then put('last', 0) end
  put('last', math.max(number('last'), seq))
  add('waiting', 1)
  add_tenant('w', tenant, 1)
  if redis.call('ZRANGE', lane, 0, 0)[1] == member then
    redis.call('ZADD', G .. ':lanes', 0, tenant .. '\n' .. engine)
    refresh_lane(engine, tenant)
    refresh_engine(engine)
  end
end

-- The counters of a ticket that left the queue, for whatever reason.
local function moved(seq, tenant, user)
  redis.call('RPUSH', G .. ':feed', digits(seq))
  add('moved', 1)
  add('gone', 1)
  add('waiting', -1)
  add_tenant('w', tenant, -1)
  add_user('w', tenant, user, -1)
end

local function hold(replica, ticket, fence, engine, tenant, user)
  redis.call('HSET', G .. ':tickets:' .. replica, ticket,
    'h\n' .. digits(fence) .. '\n' .. engine .. '\n' .. tenant .. '\n' .. user)
  add('held', 1)
  add('e:' .. engine, 1)
  add_tenant('t', tenant, 1)
  add_user('h', tenant, user, 1)
  if not tenant_free(tenant) then refresh_tenant(tenant) end
end

-- Who leaves the queue without a grant has had the turn in this round, but not those in later ones.
local function give_up(engine, tenant, user)
  if redis.call('HEXISTS', G .. ':users', 'w\n' .. tenant .. '\n' .. user) == 1 then return end
  local turns = turns_key(engine, tenant)
  local now = redis.call('ZSCORE', turns, '')
  if now then redis.call('ZADD', turns, 'XX', 'LT', now, user) end
end

-- A ticket of this round is granted, and out of its lane. A round closes to those who come when as
-- many were granted in it as it had at its beginning, and one more. What is past is forgotten, a few
-- at a time.
local function serve(engine, tenant, round)
  local turns = turns_key(engine, tenant)
  local now = redis.call('ZMSCORE', turns, '', '\n')
  local current, open = tonumber(now[1] or round), tonumber(now[2] or 0)
  local begins = round > current or open == 0
  if begins then
    current = math.max(round, current)
  elseif round == current then
    open = open - 1
    begins = open == 0
    if begins then current = current + 1 end
  end
  if begins then
    local first, after = digits(current * NUMBERS), '(' .. digits((current + 1) * NUMBERS)
    open = redis.call('ZCOUNT', lane_key(engine, tenant), first, after) + 1
  end
  redis.call('ZADD', turns, digits(current), '', open, '\n')
  -- The lowest is "\n".
  local past = redis.call('ZRANGEBYSCORE', turns, '-inf', '(' .. digits(current), 'LIMIT', 1, 2)
  if past[1] then redis.call('ZREM', turns, unpack(past)) end
  put('round', math.max(number('round'), round))
end

-- Take a ticket out, waiting or holding. `fence` names the grant that ends; 0 stands for any.
local function drop(replica, ticket, fence)
  local tickets = G .. ':tickets:' .. replica
  local packed = redis.call('HGET', tickets, ticket)
  if not packed then return false end
  local kind, count, engine, tenant, user = split(packed)
  if fence ~= 0 and (kind ~= 'h' or count ~= fence) then return false end
  redis.call('HDEL', tickets, ticket)
  if kind == 'w' then
    redis.call('ZREM', lane_key(engine, tenant), replica .. '\n' .. user .. '\n' .. ticket)
    moved(count, tenant, user)
    if user ~= '' then give_up(engine, tenant, user) end
    -- Most who leave were not the first of their lane: then no head changes.
    local first = redis.call('ZSCORE', G .. ':heads:' .. engine, tenant)
    if not first or tonumber(first) == count then
      refresh_lane(engine, tenant)
      refresh_engine(engine)
    end
  else
    local was_full, tenant_was_full = not engine_free(engine), not tenant_free(tenant)
    add('held', -1)
    add('e:' .. engine, -1)
    add_tenant('t', tenant, -1)
    add_user('h', tenant, user, -1)
    if number('waiting') > 0 then
      if tenant_was_full then refresh_tenant(tenant) end
      if was_full then refresh_engine(engine) end
    end
  end
  return true
end

-- Grant in queue order whoever can run now, at most `most`; true if more could be done.
local function grant(most)
  if number('open_at') > 0 then return false end
  local letters, done = {}, 0
  while number('waiting') > 0 and number('held') < number('slots') do
    local engine = redis.call('ZRANGE', G .. ':ready', 0, 0)[1]
    if not engine then break end
    done = done + 1
    if done > most then break end
    local tenant = redis.call('ZRANGE', G .. ':heads:' .. engine, 0, 0)[1]
    local popped = redis.call('ZPOPMIN', lane_key(engine, tenant))
    local replica, user, ticket = string.match(popped[1], '^([^\n]*)\n([^\n]*)\n(.*)$')
    local seq = tonumber(popped[2])
    serve(engine, tenant, math.floor(seq / NUMBERS))
    moved(seq, tenant, user)
    -- A waiter of a dying replica is only taken out: nobody would run.
    if text('link:' .. replica) then
      add('fence', 1)
      local fence = number('fence')
      hold(replica, ticket, fence, engine, tenant, user)
      local letter = digits(fence) .. '\n' .. ticket
      redis.call('RPUSH', G .. ':inbox:' .. replica, letter)
      letters[replica] = letters[replica] and letters[replica] .. '\n' .. letter or letter
    else
      redis.call('HDEL', G .. ':tickets:' .. replica, ticket)
    end
    refresh_lane(engine, tenant)
    refresh_engine(engine)
  end
  for replica, letter in pairs(letters) do
    redis.call('PUBLISH', G .. ':grants:' .. replica, letter)
  end
  return done > most
end

-- From now on nothing speaks for this replica; reap() takes its tickets out.
local function bury(replica)
  redis.call('ZREM', G .. ':replicas', replica)
  redis.call('UNLINK', G .. ':inbox:' .. replica)
  put('link:' .. replica, false)
  put('name:' .. replica, false)
  put('cursor:' .. replica, false)
  redis.call('SADD', G .. ':dying', replica)
end

-- Take out some tickets of one dying replica; true if any dying replica is left.
local function reap()
  local replica = redis.call('SRANDMEMBER', G .. ':dying')
  if not replica then return false end
  local tickets = G .. ':tickets:' .. replica
  for _, ticket in ipairs(redis.call('HRANDFIELD', tickets, REAPED_PER_CALL)) do
    drop(replica, ticket, 0)
  end
  if redis.call('EXISTS', tickets) == 0 then
    redis.call('SREM', G .. ':dying', replica)
  end
  return redis.call('EXISTS', G .. ':dying') == 1
end
