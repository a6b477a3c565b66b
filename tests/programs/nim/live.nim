stdout.write "one\n"
discard stdin.readLine
stdout.write "two\n"
