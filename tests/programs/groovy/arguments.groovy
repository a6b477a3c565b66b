args.each { println it }
println System.getenv('GREETING')
System.exit(7)
