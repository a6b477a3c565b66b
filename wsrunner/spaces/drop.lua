-- Forgets a workspace, unless another replica has it that lives.
--
-- KEYS[1]  the workspace (hash)
-- ARGV[1]  who asks              ARGV[2]  begins the keys of replicas that live (same node)
-- ARGV[3]  'any'; 'own': only if it was theirs last; 'had': only if they have it, and it is not left
--
-- Returns {'had', owner} if another one has it, else {'dropped', left}, which is '' for nothing.
local owner, last, left = unpack(redis.call('HMGET', KEYS[1], 'owner', 'last', 'left'))
if ARGV[3] == 'own' and last ~= ARGV[1] then return {'dropped', ''} end
if ARGV[3] == 'had' and owner ~= ARGV[1] then return {'dropped', ''} end
if owner and owner ~= '' and owner ~= ARGV[1] and redis.call('EXISTS', ARGV[2] .. owner) == 1 then
  return {'had', owner}
end
redis.call('DEL', KEYS[1])
return {'dropped', owner == '' and left or ''}
