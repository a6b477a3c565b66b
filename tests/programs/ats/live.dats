#include "share/atspre_staload.hats"

implement main0 () = let
  val () = println! ("one")
  val line = fileref_get_line_string (stdin_ref)
  val () = strptr_free (line)
in
  println! ("two")
end
