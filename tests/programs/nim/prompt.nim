import std/strutils

stdout.write "number? "
let number = stdin.readLine.parseInt
echo number * number
