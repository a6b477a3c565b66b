echo one
sleep 1
echo two
