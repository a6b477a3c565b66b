let () = Printf.printf "%d\n" (Tool.twice 21)
