let () =
  Array.iteri (fun i argument -> if i > 0 then print_endline argument) Sys.argv;
  print_endline (Sys.getenv "GREETING");
  exit 7
