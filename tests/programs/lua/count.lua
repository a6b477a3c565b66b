local lines = 0
for _ in io.lines() do lines = lines + 1 end
print(lines)
