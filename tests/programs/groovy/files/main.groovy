println Tool.twice(21)
