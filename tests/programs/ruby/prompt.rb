print "number? "
number = gets.to_i
puts number * number
