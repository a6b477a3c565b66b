#include "share/atspre_staload.hats"
staload UN = "prelude/SATS/unsafe.sats"
extern fun atoi (text: string): int = "mac#"

implement main0 () = let
  val () = print! ("number? ")
  val line = fileref_get_line_string (stdin_ref)
  val number = atoi ($UN.strptr2string (line))
  val () = strptr_free (line)
in
  println! (number * number)
end
