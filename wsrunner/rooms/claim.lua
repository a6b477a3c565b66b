-- Makes a room known, unless another replica is its home.
--
-- KEYS[1]  its record (hash)    KEYS[2]  its entries (stream)
-- ARGV[1]  the home's replica   ARGV[2]  life of the keys, ms
-- ARGV[3]  number and ARGV[4] content of the entry that says all it is
-- ARGV[5…] the record's fields and values
--
-- Returns the replica that is its home.
local home = redis.call('HGET', KEYS[1], 'home')
if home and home ~= ARGV[1] then return home end
redis.call('HSET', KEYS[1], 'home', ARGV[1], 'last', ARGV[3], unpack(ARGV, 5))
redis.call('DEL', KEYS[2])
redis.call('XADD', KEYS[2], ARGV[3] .. '-0', 'e', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return ARGV[1]
