<?php
echo "number? ";
$number = (int) fgets(STDIN);
echo $number * $number, "\n";
