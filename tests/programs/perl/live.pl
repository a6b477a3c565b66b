print "one\n";
sleep 1;
print "two\n";
