<?php echo mb_strtolower("HERE") . "\n";
