(format t "one~%")
(read-line)
(format t "two~%")
