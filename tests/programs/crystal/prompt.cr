print "number? "
number = gets.not_nil!.to_i
puts number * number
