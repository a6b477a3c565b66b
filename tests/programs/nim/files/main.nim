import tool

echo twice(21)
