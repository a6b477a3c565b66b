ARGV.each { |argument| puts argument }
puts ENV["GREETING"]
exit 7
