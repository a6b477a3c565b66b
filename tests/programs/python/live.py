import os

print("one")
os.read(0, 1)
print("two")
