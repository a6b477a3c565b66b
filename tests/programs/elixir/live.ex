IO.write("one\n")
IO.gets("")
IO.write("two\n")
