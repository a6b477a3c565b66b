import time

print("one")
time.sleep(1)
print("two")
