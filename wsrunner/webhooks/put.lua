-- Keeps a message, and says when it is due.
--
-- KEYS[1]  what is due when (zset: the message's id, Unix time in ms)     KEYS[2]  the message (string)
-- KEYS[3]  whose each is (hash)
-- ARGV[1]  its id     ARGV[2]  its content     ARGV[3]  due in, ms     ARGV[4]  life of the message, ms
-- ARGV[5]  whose it is; '' for nobody's
local now = redis.call('TIME')
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3], ARGV[1])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], ARGV[1], ARGV[5]) end
return ''
