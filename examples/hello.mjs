/** Run a program and show each line the moment it comes. */

import { connect } from "../static/wsrunner.js"; // one file without dependencies: copy it

const connection = connect(process.env.WSRUNNER_URL ?? "ws://127.0.0.1:8001");
const run = connection.run({
  language: "python",
  files: [
    { name: "main.py", content: "import greet\nfor name in open('names.txt'): greet.hello(name.strip())" },
    { name: "greet.py", content: "def hello(name): print('Hello,', name)" },
    { name: "names.txt", content: "Ada\nGrace\n" },
  ],
});

for await (const { stream, text } of run) console.log(`${stream}: ${text}`);

// A program that fails rejects nothing: its exit says how it ended.
const { reason, code } = await run.exit;
console.log(reason, code);
connection.close();
