(.waitFor (.start (ProcessBuilder. ^java.util.List ["sh" "-c" "kill -SEGV $PPID"])))
(Thread/sleep 60000)
