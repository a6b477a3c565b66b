<?php
shell_exec('kill -SEGV ' . getmypid());
