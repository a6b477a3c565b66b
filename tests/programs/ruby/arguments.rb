puts ARGV, ENV["GREETING"]
exit 7
