(print "one\n")
(read-line)
(print "two\n")
(flush)
