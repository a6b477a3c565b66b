require "./tool"

puts twice(21)
