(load "tool.scm")
(display (twice 21))
(newline)
