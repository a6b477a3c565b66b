(display "number? ")
(let ((number (read)))
  (display (* number number))
  (newline))
