use lib '.';
use Tool;
say twice(21);
