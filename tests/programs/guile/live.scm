(use-modules (ice-9 rdelim))
(display "one\n")
(read-line)
(display "two\n")
