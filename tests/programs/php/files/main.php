<?php
require 'tool.php';
echo twice(21), "\n";
