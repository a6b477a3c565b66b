print("one")
os.execute("sleep 1")
print("two")
