-- Takes messages that are due: nobody else gets them until their lease is over.
--
-- KEYS[1]  what is due when (zset, see put.lua)     ARGV[1]  beginning of the messages' keys
-- ARGV[2]  how many at most                         ARGV[3]  the lease, ms
--
-- KEYS[2]  whose each is (hash)
--
-- Returns the contents of those that are there. What has outlived its message is forgotten. All keys
-- have one hash tag, so that a Cluster has them on one node though not all of them are named.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local content = redis.call('GET', ARGV[1] .. id)
  if content then
    redis.call('ZADD', KEYS[1], now + ARGV[3], id)
    taken[#taken + 1] = content
  else
    redis.call('ZREM', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
  end
end
return taken
