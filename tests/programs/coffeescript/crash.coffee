process.kill process.pid, 'SIGSEGV'
setTimeout (->), 60000
