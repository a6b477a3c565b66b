/** Talk with a program while it runs: it asks for guesses, and is answered. */

import { connect } from "../static/wsrunner.js"; // one file without dependencies: copy it

const PROMPT = "Guess? ";
const GAME = `
while (guess := int(input("${PROMPT}"))) != 37:
    print("too low" if guess < 37 else "too high")
print("right")
`;

const connection = connect(process.env.WSRUNNER_URL ?? "ws://127.0.0.1:8001");
// Without `stdin` the program's stdin stays open, so that answers can follow.
const run = connection.run({ language: "python", code: GAME, limits: { wall_s: 30 } });

let [low, high, guess] = [1, 100, 0];
let said = "";
// Chunks hold prompts too; lines would wait for their ends.
for await (const { text } of run.chunks()) {
  // A prompt comes as soon as it is written, but no chunk promises to be all of it.
  said += text;
  if (!said.endsWith(PROMPT)) continue;
  if (said.startsWith("too low")) low = guess + 1;
  else if (said.startsWith("too high")) high = guess - 1;
  guess = Math.floor((low + high) / 2);
  console.log(said + guess);
  run.stdin(`${guess}\n`);
  said = "";
}
process.stdout.write(said);
console.log((await run.exit).reason);
connection.close();
