console.log("one");
process.stdin.once("data", () => {
  console.log("two");
  process.exit();
});
