let () =
  print_string "one\n";
  ignore (input_line stdin);
  print_string "two\n"
