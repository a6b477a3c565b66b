unit module Tool;
sub twice($n) is export { 2 * $n }
