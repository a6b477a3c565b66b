<?php
echo count(file('php://stdin')), "\n";
