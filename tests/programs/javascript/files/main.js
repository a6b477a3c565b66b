const { twice } = require('./tool');
console.log(twice(21));
