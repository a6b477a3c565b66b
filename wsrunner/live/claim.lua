-- Begins a kept run, unless its request has begun one already.
--
-- KEYS[1]  record of the new run (hash)      KEYS[2]  what its once began (string: a run's id)
-- ARGV[1]  the new run's id                  ARGV[2]  life of both keys, ms
-- ARGV[3]  '1' if the request has a once     ARGV[4…] the record's fields and values
--
-- Returns the id of the run that the once began before; '' if it is the new one.
if ARGV[3] == '1' then
  local begun = redis.call('GET', KEYS[2])
  if begun and begun ~= ARGV[1] then return begun end
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return ''
