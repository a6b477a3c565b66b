println System.in.readLines().size()
