number = int(input("number? "))
print(number * number)
