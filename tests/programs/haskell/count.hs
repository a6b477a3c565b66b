main = interact (\text -> show (length (lines text)) ++ "\n")
