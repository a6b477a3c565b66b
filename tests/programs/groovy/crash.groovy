['sh', '-c', 'kill -SEGV $PPID'].execute().waitFor()
sleep 60000
