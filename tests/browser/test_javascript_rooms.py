"""Rooms of the JavaScript client: they come back by themselves."""

import asyncio

from tests.browser.test_javascript_client import CLIENT, SCRIPT, play
from tests.live.cutter import Cutter
from tests.talk import PATIENCE_S


async def test_a_room_and_its_run_come_back_after_a_lost_connection(node, server):
    script = """
      import { connect } from "./wsrunner.js";
      const connection = connect("http://WAY", { reconnect: { minMs: 1, maxMs: 5 } });
      const room = await connection.open({ name: "Ada" }).entered;
      const { you } = room;
      const next = (emitter, type) => new Promise((done) => {
        const off = emitter.on(type, (value) => { off(); done(value); });
      });
      const code = "for _ in range(3): print('got', input())";
      const run = room.run({ language: "python", code });
      await next(run, "accepted");
      room.update(new TextEncoder().encode("kept"));
      await next(room, "update");
      const lines = run.lines();
      for (let n = 0; n < 3; n += 1) {
        const joined = next(room, "joined");
        console.log("cut");
        const { updates } = await joined;
        run.stdin(`${n}\\n`);
        const { value } = await lines.next();
        const kept = new TextDecoder().decode(updates[0]);
        console.log(value.text, kept, room.you === you, room.people.length);
      }
      console.log((await run.exit).reason, room.me.role);
      room.close();
      await next(room, "left");
      connection.close();
    """
    expected = []
    for n in range(3):
        expected += ["cut", f"got {n} kept true 1"]
    async with Cutter([server.address]) as way:
        script = script.replace("./wsrunner.js", CLIENT).replace("WAY", f"127.0.0.1:{way.port}")
        process = await asyncio.create_subprocess_exec(
            *node, *SCRIPT, script, stdout=asyncio.subprocess.PIPE
        )
        printed = []
        async with asyncio.timeout(PATIENCE_S):
            while line := await process.stdout.readline():
                printed.append(line.decode().strip())
                if printed[-1] == "cut":
                    way.cut()
            assert await process.wait() == 0
        assert way.connections > 3
    assert printed == [*expected, "exited own"]


async def test_what_can_not_be_entered_says_why(node, server):
    script = """
      import { connect } from "./wsrunner.js";
      const connection = connect("http://127.0.0.1:8001");
      const room = connection.join({ room: "0".repeat(16), key: "wrong" });
      await room.entered.catch((error) => console.log(error.code, room.over));
      const own = await connection.open().entered;
      own.on("error", (error) => { console.log(error.code, own.over); own.leave(); });
      own.on("left", (reason) => { console.log(reason); connection.close(); });
      own.update(new Uint8Array(65 * 1024));
    """
    assert await play(node, server, script) == "no_such_room true\ntoo_large false\nleft\n"


async def test_it_asks_again_for_a_room_whose_server_does_not_answer(node, server):
    script = """
      import { connect } from "./wsrunner.js";
      const person = { person: "p", name: "Bob", role: "work", number: 0, hand: false };
      const joined = {
        type: "joined", you: "p", seq: 0, updates: [], awareness: {},
        now: { people: [person], newcomers: "work" },
      };
      const away = { type: "error", code: "gate_unavailable", message: "away", retry_after_s: 2 };
      const nothing = { type: "error", code: "no_such_run", message: "none", path: "$.id" };
      const full = { type: "error", code: "rooms_full", message: "full" };
      const answers = [joined, "cut", away, nothing, joined, "cut", full, joined, "cut", away];
      class Scripted {
        readyState = 1;
        constructor() { setTimeout(() => this.onopen()); }
        send(text) {
          const { type, id } = JSON.parse(text);
          console.log(type);
          do {
            const answer = answers.shift();
            setTimeout(() => {
              if (answer === "cut") this.onclose({ code: 1006, reason: "" });
              else this.onmessage({ data: JSON.stringify({ ...answer, id }) });
              if (!answers.length) room.leave();
            });
          } while (["cut", nothing].includes(answers[0]));
        }
        close() {}
      }
      const options = { reconnect: { minMs: 1, maxMs: 5 }, WebSocket: Scripted };
      const connection = connect("http://127.0.0.1:8001", options);
      const join = () => {
        const room = connection.join({ room: "0".repeat(16), key: "work" });
        room.on("joined", () => console.log("joined"));
        room.on("error", ({ code }) => console.log(code));
        return room;
      };
      const left = (room) => new Promise((done) => room.on("left", done));
      let room = join();
      console.log(await left(room));
      room = join();
      console.log(await left(room));
      connection.close();
    """
    assert (await play(node, server, script)).splitlines() == [
        *("join", "joined"),
        *("join", "no_such_run", "join", "joined"),
        *("join", "rooms_full", "lost"),
        *("join", "joined", "join", "left"),
    ]
