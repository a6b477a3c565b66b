print 'one\n'
System.in.read()
print 'two\n'
