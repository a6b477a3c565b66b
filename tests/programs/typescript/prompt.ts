declare const process: any;
process.stdout.write('number? ');
process.stdin.once('data', (text: string) => {
  const number = parseInt(text);
  console.log(number * number);
  process.stdin.destroy();
});
