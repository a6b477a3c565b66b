IO.puts(Tool.twice(21))
