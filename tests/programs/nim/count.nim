var count = 0
for line in stdin.lines: inc count
echo count
