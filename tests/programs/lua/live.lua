print("one")
io.read()
print("two")
