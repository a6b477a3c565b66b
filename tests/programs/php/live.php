<?php
echo "one\n";
sleep(1);
echo "two\n";
