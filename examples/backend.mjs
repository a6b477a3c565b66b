/**
 * Sign a token for one of your users, who runs a program with it.
 *
 * The first half is your backend's, which has the private key of a tenant (docs/tenants.md); the second one is what
 * the user's browser does, which never sees it. No package is needed; `jose` does the same.
 */

import { createPrivateKey, sign } from "node:crypto";
import { readFileSync } from "node:fs";

import { connect } from "../static/wsrunner.js";

const key = createPrivateKey(readFileSync(process.env.BACKEND_KEY ?? "private.pem"));

/**
 * Return what lets a user run Python for five minutes, and nothing else.
 *
 * @param {string} user
 */
function tokenFor(user) {
  const head = { alg: "EdDSA", typ: "JWT", kid: "backend" };
  const claims = {
    sub: user,
    aud: "wsrunner",
    exp: Math.floor(Date.now() / 1000) + 300,
    languages: ["python"],
    limits: { wall_s: 5 },
  };
  const text = [head, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${sign(null, Buffer.from(text), key).toString("base64url")}`;
}

const connection = connect(process.env.WSRUNNER_URL ?? "ws://127.0.0.1:8001", { token: tokenFor("eve") });
const run = connection.run({ language: "python", code: "print('signed')" });
for await (const { text } of run) console.log(text);
const { reason, code } = await run.exit;
console.log(reason, code);
connection.close();
