shell "kill -SEGV $*PID";
sleep 60;
