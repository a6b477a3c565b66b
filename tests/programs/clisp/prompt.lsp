(format t "number? ")
(let ((number (parse-integer (read-line))))
  (format t "~a~%" (* number number)))
