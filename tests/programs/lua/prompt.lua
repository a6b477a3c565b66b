io.write("number? ")
local number = io.read("n")
print(number * number)
