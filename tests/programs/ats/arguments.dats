%{^
#include <stdlib.h>
%}
#include "share/atspre_staload.hats"
extern fun getenv (name: string): string = "mac#"
extern fun exit_with (code: int): void = "mac#exit"

implement main0 (argc, argv) = let
  fun show {n: int} {i: nat | i <= n} .<n-i>. (argc: int n, argv: !argv (n), i: int i): void =
    if i < argc then let
      val () = println! (argv[i])
    in show (argc, argv, i + 1) end
  val () = show (argc, argv, 1)
  val () = println! (getenv ("GREETING"))
in
  exit_with (7)
end
