puts "one"
sleep 1
puts "two"
