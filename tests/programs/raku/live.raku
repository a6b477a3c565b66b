print "one\n";
get;
print "two\n";
