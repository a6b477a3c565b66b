-- Has a workspace, unless another replica has it that lives.
--
-- KEYS[1]  the workspace (hash)
-- ARGV[1]  who takes it          ARGV[2]  begins the keys of replicas that live (same node)
-- ARGV[3]  what it is made of    ARGV[4]  life of the key, ms
--
-- Returns {'had', ''}: another one has it
--         {'unfit', made}: it is made of something else
--         {'taken', left, age in ms, had}: left is '' unless somebody had left it; had is 1 if it was
--             theirs already
local owner, made, left, born_ms = unpack(redis.call('HMGET', KEYS[1], 'owner', 'made', 'left', 'born_ms'))
if owner and owner ~= '' and owner ~= ARGV[1] then
  if redis.call('EXISTS', ARGV[2] .. owner) == 1 then return {'had', ''} end
  -- Its replica died in a run: who knows what that did.
  owner = false
end
if owner and made ~= ARGV[3] then return {'unfit', made} end
local age_ms, had = 0, owner == ARGV[1] and 1 or 0
if owner == '' then
  local time = redis.call('TIME')
  age_ms = time[1] * 1000 + math.floor(time[2] / 1000) - born_ms
else
  left = ''
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'last', ARGV[1], 'made', ARGV[3], 'left', '')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'taken', left, age_ms, had}
