(format t "~a~%" (loop while (read-line *standard-input* nil) count t))
