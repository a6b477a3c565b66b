-- Tells what is known of kept runs; see live/publish.lua for what is there of each.
--
-- KEYS[1…]  of each run: record (hash), events (stream)
--
-- Returns for each run 'on', 'over' if its end is there, 'absent' if there is no record.
local known = {}
for at = 1, #KEYS, 2 do
  local last = redis.call('XREVRANGE', KEYS[at + 1], '+', '-', 'COUNT', 1)[1]
  if redis.call('EXISTS', KEYS[at]) == 0 then known[#known + 1] = 'absent'
  elseif last and last[2][1] == 'x' then known[#known + 1] = 'over'
  else known[#known + 1] = 'on' end
end
return known
