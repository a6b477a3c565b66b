print "number? ";
my $number = <STDIN>;
print $number * $number, "\n";
