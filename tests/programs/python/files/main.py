from tool import twice

print(twice(21))
