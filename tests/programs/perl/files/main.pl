use lib '.';
use Tool;
print Tool::twice(21), "\n";
