my $lines = 0;
$lines++ while <STDIN>;
print "$lines\n";
