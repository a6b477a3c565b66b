(kill (getpid) SIGSEGV)
(sleep 60)
