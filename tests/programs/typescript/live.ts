console.log("one");
setTimeout((): void => console.log("two"), 1000);
