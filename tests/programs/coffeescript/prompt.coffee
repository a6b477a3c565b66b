process.stdout.write 'number? '
process.stdin.once 'data', (text) ->
  number = parseInt text
  console.log number * number
  process.stdin.destroy()
