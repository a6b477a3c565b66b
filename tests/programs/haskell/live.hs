main = do
  putStr "one\n"
  getLine
  putStr "two\n"
