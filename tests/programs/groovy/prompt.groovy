print 'number? '
def number = System.in.newReader().readLine() as int
println number * number
