<?php
echo "one\n";
fgets(STDIN);
echo "two\n";
