declare const require: any;
const text: string = require('fs').readFileSync(0, 'utf8');
console.log(text.split('\n').length - 1);
