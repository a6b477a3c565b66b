package Tool;
sub twice { 2 * $_[0] }
1;
