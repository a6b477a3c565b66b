main = do
  putStr "number? "
  number <- readLn
  print (number * number)
