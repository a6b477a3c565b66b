printf 'number? '
read -r number
echo $((number * number))
