puts STDIN.each_line.size
