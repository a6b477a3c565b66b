import Tool

main = print (twice 21)
