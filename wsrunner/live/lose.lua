-- Ends a run whose replica is gone, once: after this the replica can't add to it, should it live.
--
-- KEYS[1]  record    KEYS[2]  events
-- ARGV[1]  the run's end, as content of an event
if redis.call('EXISTS', KEYS[1]) == 0 then return end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if last and last[2][1] == 'x' then return end
redis.call('HSET', KEYS[1], 'lost', '1')
local seq = last and tonumber(string.match(last[1], '^%d+')) or 0
redis.call('XADD', KEYS[2], string.format('%.0f-0', seq + 1), 'x', ARGV[1])
-- Where nothing had been published of it, this has made the stream.
redis.call('PEXPIRE', KEYS[2], redis.call('PTTL', KEYS[1]))
