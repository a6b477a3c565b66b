echo one
read -r _
echo two
