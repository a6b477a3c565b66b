let () =
  print_string "number? ";
  let number = int_of_string (input_line stdin) in
  Printf.printf "%d\n" (number * number)
