let rec count lines =
  match input_line stdin with
  | _ -> count (lines + 1)
  | exception End_of_file -> lines

let () = Printf.printf "%d\n" (count 0)
