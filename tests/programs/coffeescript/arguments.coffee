console.log argument for argument in process.argv[2..]
console.log process.env.GREETING
process.exitCode = 7
