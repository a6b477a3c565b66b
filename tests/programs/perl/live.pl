print "one\n";
sysread STDIN, my $byte, 1;
print "two\n";
