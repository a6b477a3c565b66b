print "one\n"
gets
print "two\n"
