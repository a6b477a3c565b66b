declare const process: any;

console.log("one");
process.stdin.once("data", (): void => {
  console.log("two");
  process.exit();
});
