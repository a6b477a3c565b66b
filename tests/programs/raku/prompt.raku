print "number? ";
my $number = get.Int;
say $number * $number;
