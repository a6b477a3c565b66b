Process.kill :SEGV, Process.pid
sleep 60
