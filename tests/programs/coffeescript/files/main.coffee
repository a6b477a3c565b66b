tool = require './tool'
console.log tool.twice 21
