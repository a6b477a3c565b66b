local tool = require("tool")
print(tool.twice(21))
