(sb-sys:enable-interrupt sb-unix:sigsegv :default)
(sb-ext:run-program "/bin/sh" '("-c" "kill -SEGV $PPID"))
(sleep 60)
