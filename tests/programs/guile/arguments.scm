(for-each (lambda (argument) (display argument) (newline)) (cdr (command-line)))
(display (getenv "GREETING"))
(newline)
(exit 7)
