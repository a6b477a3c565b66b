print "$_\n" for @ARGV, $ENV{GREETING};
exit 7;
