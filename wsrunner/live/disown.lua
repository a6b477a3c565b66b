-- Forgets a run that was claimed and never begun.
--
-- KEYS[1]  record    KEYS[2]  what its once began    ARGV[1]  the run's id
redis.call('DEL', KEYS[1])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
