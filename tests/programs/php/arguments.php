<?php
foreach (array_slice($argv, 1) as $argument) echo "$argument\n";
echo getenv('GREETING'), "\n";
exit(7);
