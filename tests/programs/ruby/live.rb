puts "one"
$stdin.sysread(1)
puts "two"
