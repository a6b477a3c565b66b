puts $stdin.each_line.count
