-- tune.lua: change N, an engine's capacity or another setting of a gate that runs.
--
-- KEYS[1]  the gate (see common.lua)
-- ARGV     name, value, ...   as in the gate's hash; an empty value takes a setting away
-- Returns  the version of the configuration

-- include common.lua

for i = 1, #ARGV, 2 do
  put(ARGV[i], ARGV[i + 1] ~= '' and ARGV[i + 1])
  local engine = string.match(ARGV[i], '^cap:(.*)$')
  if engine then refresh_engine(engine) end
  local tenant = string.match(ARGV[i], '^slots:(.*)$')
  if tenant then refresh_tenant(tenant) end
end
add('config', 1)
grant(GRANTS_PER_CALL)
save()
return number('config')
