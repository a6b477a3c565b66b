"""The JavaScript client outside of a browser: its document's examples, and lost connections."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.live.cutter import Cutter
from tests.talk import PATIENCE_S
from wsrunner.serving.doors.pages import static_dir

DOCUMENT = Path(__file__).parents[2] / "docs" / "javascript.md"
SCRIPT = ("--input-type=module", "--eval")
CLIENT = (static_dir() / "wsrunner.js").as_uri()
EXAMPLES = re.findall(r"```js\n(.*?)```\n\n```\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


async def play(node, serving, script):
    """Run a script with its server's address and the client's in place; return what it printed."""
    script = script.replace("./wsrunner.js", CLIENT).replace("127.0.0.1:8001", serving.address)
    process = await asyncio.create_subprocess_exec(
        *node, *SCRIPT, script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def test_the_document_has_examples():
    assert len(EXAMPLES) == 7


@pytest.mark.parametrize(("script", "printed"), EXAMPLES)
async def test_an_example_prints_what_the_document_says(node, server, script, printed):
    assert await play(node, server, script) == printed


async def test_much_stdin_waits_for_the_program(node, server):
    script = """
      import { connect } from "./wsrunner.js";
      const connection = connect("http://127.0.0.1:8001");
      const code = "import sys; print(len(sys.stdin.buffer.read()))";
      const run = connection.run({ language: "python", code });
      await run.stdin("é".repeat(1_000_000));
      await run.stdin(new Uint8Array(1_000_000).fill(255));
      run.eof();
      console.log((await run.collect()).stdout.trim());
      connection.close();
    """
    assert await play(node, server, script) == "3000000\n"


async def test_a_program_that_waits_for_input_is_answered(node, server):
    script = """
      import { connect } from "./wsrunner.js";
      const connection = connect("http://127.0.0.1:8001");
      const code = "print(int(input()) + int(input()))";
      const run = connection.run({ language: "python", code, waiting: true });
      run.on("waiting", () => run.stdin("21\\n"));
      console.log((await run.collect()).stdout.trim());
      connection.close();
    """
    assert await play(node, server, script) == "42\n"


async def test_bytes_that_are_no_text_arrive_as_they_are(node, server):
    script = r"""
      import { connect } from "./wsrunner.js";
      const connection = connect("http://127.0.0.1:8001");
      const code = "import sys; sys.stdout.buffer.write(bytes([255, 0, 65]))";
      for await (const { bytes } of connection.run({ language: "python", code }).chunks()) {
        console.log([...bytes].join());
      }
      connection.close();
    """
    assert await play(node, server, script) == "255,0,65\n"


async def test_files_that_a_run_makes_come_whole(node, server):
    script = """
      import { connect } from "./wsrunner.js";
      const connection = connect("http://127.0.0.1:8001");
      const code = "head -c 300000 /dev/zero >a.bin; : >b.bin; ln -s / c.bin; echo hi";
      const run = connection.run({ language: "bash", code, outputs: ["*.bin"] });
      const heard = [];
      run.on("file", ({ name }) => heard.push(name));
      const { stdout, files, leftOut } = await run.collect();
      const zeros = (bytes) => bytes.every((byte) => byte === 0);
      const told = leftOut.map(({ name, reason }) => name + reason);
      console.log(stdout.trim(), heard.sort().join(), told.join());
      const shown = ({ name, type, bytes }) => [name, type, bytes.length, zeros(bytes)].join();
      console.log(files.map(shown).sort().join(" "));
      connection.close();
    """
    assert await play(node, server, script) == (
        "hi a.bin,b.bin c.binno_file\n"
        "a.bin,application/octet-stream,300000,true b.bin,application/octet-stream,0,true\n"
    )


async def test_a_workspace_keeps_files_until_it_is_forgotten(node, server):
    script = """
      import { connect } from "./wsrunner.js";
      const connection = connect("http://127.0.0.1:8001");
      const found = async (code) => {
        const run = connection.run({ language: "bash", code, workspace: "js" });
        let workspace;
        run.on("started", (started) => (workspace = started.workspace));
        const { stdout } = await run.collect();
        return `${workspace} ${stdout.trim()}`;
      };
      console.log(await found("echo 1 | tee f"), "/", await found("cat f"));
      await connection.forget("js");
      console.log(await connection.forget("js").catch(({ code }) => code));
      console.log(await found("ls"));
      await connection.forget("js");
      connection.close();
      console.log(await connection.forget("js").catch(({ code }) => code));
    """
    assert await play(node, server, script) == (
        "new 1 / kept 1\nno_such_workspace\nnew main.sh\nclosed\n"
    )


async def test_a_signal_reaches_the_program(node, server):
    script = """
      import { connect } from "./wsrunner.js";
      const connection = connect("http://127.0.0.1:8001");
      const code = "print('on')\\nimport time; time.sleep(600)";
      const run = connection.run({ language: "python", code });
      for await (const { stream } of run) if (stream === "stdout") run.signal("SIGINT");
      console.log((await run.exit).signal);
      connection.close();
    """
    assert await play(node, server, script) == "SIGINT\n"


async def test_a_token_opens_the_server(node, start_server):
    serving = start_server(token="let-me-in")
    script = """
      import { connect } from "./wsrunner.js";
      for (const token of ["wrong", "let-me-in"]) {
        const connection = connect("http://127.0.0.1:8001", { token, reconnect: false });
        const run = connection.run({ language: "python", code: "print(1)" });
        console.log(await run.exit.then(({ code }) => code, ({ code }) => code));
        connection.close();
      }
    """
    assert await play(node, serving, script) == "unreachable\n0\n"


async def test_a_lost_run_is_told_and_the_next_one_waits_for_the_server(node, start_server):
    serving = start_server(drain_s=0)
    script = """
      import { connect } from "./wsrunner.js";
      const reconnect = { maxMs: 500, attempts: 1000 };
      const connection = connect("http://127.0.0.1:8001", { reconnect });
      const run = connection.run({ language: "python", code: "print('on'); input()" });
      run.on("output", () => console.log("on"));
      console.log(await run.exit.then(({ reason }) => reason, ({ code }) => code));
      const next = connection.run({ language: "python", code: "print('again')" });
      console.log((await next.collect()).stdout.trim());
      connection.close();
    """
    script = script.replace("./wsrunner.js", CLIENT).replace("127.0.0.1:8001", serving.address)
    process = await asyncio.create_subprocess_exec(
        *node, *SCRIPT, script, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        assert await process.stdout.readline() == b"on\n"
        serving.kill()
        assert await process.stdout.readline() == b"connection_lost\n"
        serving.options["port"] = serving.address.rpartition(":")[2]
        serving.start()
        assert await process.stdout.read() == b"again\n"
        assert await process.wait() == 0


async def test_a_kept_run_survives_lost_connections_without_losing_or_doubling_a_byte(node, server):
    script = r"""
      import { connect } from "./wsrunner.js";
      const reconnect = { minMs: 20, maxMs: 200, attempts: 1000 };
      const connection = connect("http://WAY", { reconnect });
      const code = "import sys\nfor line in sys.stdin: print('got', line, end='')\nprint('over')";
      const run = connection.run({ language: "python", code, keep_s: 60 });
      let text = "";
      let number = 0;
      run.stdin(`${number}\n`);
      for await (const line of run) {
        console.log(line.text);
        if (line.text === `got ${number}` && ++number < 5) run.stdin(`${number}\n`);
        else if (number === 5) run.eof();
      }
      console.log((await run.exit).reason);
      connection.close();
    """
    expected = [*(f"got {n}" for n in range(5)), "over", "exited"]
    async with Cutter([server.address]) as way:
        script = script.replace("./wsrunner.js", CLIENT).replace("WAY", f"127.0.0.1:{way.port}")
        process = await asyncio.create_subprocess_exec(
            *node, *SCRIPT, script, stdout=asyncio.subprocess.PIPE
        )
        printed = []
        async with asyncio.timeout(PATIENCE_S):
            while line := await process.stdout.readline():
                printed.append(line.decode().strip())
                way.cut()
            assert await process.wait() == 0
        assert way.connections > 3
    assert printed == expected


async def test_stdin_that_may_be_lost_is_sent_again_from_where_the_server_has_it(node):
    script = """
      const connection = dial({ minMs: 1 });
      await reached(connection, "open");
      const run = connection.run({ language: "bash", code: "", keep_s: 5 });
      run.stdin("one");
      const say = (message) => Fake.all.at(-1).say({ id: run.id, ...message });
      say({ type: "accepted", run: "R", drive: "D", view: "V" });
      run.stdin("two");
      run.eof();
      await new Promise((done) => setTimeout(done));
      say({ type: "stdout", seq: 2, data: "" });
      const back = reached(connection, "open");
      Fake.all[0].onclose({ code: 1006, reason: "" });
      await back;
      say({ type: "attached", run: "R", role: "drive", stage: "run", stdin_bytes: 4, eofs: 0 });
      const shown = ({ type, data, at, after }) => [type, data, at, after].join("");
      for (const { sent } of Fake.all) console.log(sent.map(shown).join());
      const [first, second] = Fake.all.map(({ sent }) => sent[0].once);
      console.log(first === second, first.length);
      connection.close();
    """
    expected = "run,stdinone0,stdintwo3,eof\nattach2,stdintwo3,eof\ntrue 32\n"
    assert await play_alone(node, script) == expected


async def test_much_stdin_in_small_pieces_goes_out_and_is_forgotten_in_order(node):
    script = """
      const connection = dial();
      await reached(connection, "open");
      const run = connection.attach({ run: "R", key: "D" });
      const say = (message) => Fake.all[0].say({ id: run.id, ...message });
      say({ type: "attached", run: "R", role: "drive", stage: "run", stdin_bytes: 5, eofs: 0 });
      for (let number = 0; number < 50_000; number += 1) run.stdin("x");
      await new Promise((done) => setTimeout(done));
      say({ type: "drained", bytes: 40_000 });
      await run.stdin("yz");
      await run.stdin("!");
      const sent = Fake.all[0].sent.filter(({ type }) => type === "stdin");
      const place = (number) => 5 + number + (number > 50_000);
      console.log(sent.length, sent.every(({ at }, number) => at === place(number)));
      connection.close();
    """
    assert await play_alone(node, script) == "50002 true\n"


async def test_a_request_whose_answer_was_lost_is_made_once_more_under_its_name(node):
    script = """
      const connection = dial({ minMs: 1 });
      await reached(connection, "open");
      const run = connection.run({ language: "bash", code: "1", keep_s: 5 });
      run.cancel();
      const back = reached(connection, "open");
      Fake.all[0].onclose({ code: 1006, reason: "" });
      await back;
      const [first, second] = Fake.all.map(({ sent }) => JSON.stringify(sent[0]));
      console.log(first === second);
      Fake.all[1].say({ type: "accepted", id: run.id, run: "R", drive: "D", view: "V" });
      console.log(Fake.all[1].sent.map(({ type }) => type).join());
      connection.close();
    """
    assert await play_alone(node, script) == "true\nrun,cancel\n"


# A server that does as the script says, where no real one can be made to.
FAKE = """
  import { connect } from "./wsrunner.js";
  class Fake {
    static all = [];
    sent = [];
    constructor() {
      Fake.all.push(this);
      setTimeout(() => {
        this.onopen();
        if (Fake.busy) this.onclose({ code: 1013, reason: "" });
      });
    }
    send(text) { this.sent.push(JSON.parse(text)); }
    say(message) { this.onmessage({ data: JSON.stringify(message) }); }
    close() {}
  }
  const dial = (reconnect) => connect("ws://fake", { WebSocket: Fake, reconnect });
  const reached = (connection, wanted) =>
    new Promise((done) => connection.on("state", ({ state }) => state === wanted && done()));
"""


async def play_alone(node, script):
    process = await asyncio.create_subprocess_exec(
        *node,
        *SCRIPT,
        (FAKE + script).replace("./wsrunner.js", CLIENT),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_the_size_of_a_window_waits_for_the_program(node):
    script = """
      const connection = dial();
      await reached(connection, "open");
      const [socket] = Fake.all;
      const run = connection.run({ language: "bash", code: "", tty: {} });
      run.resize(90, 30);
      run.resize(100, 40);
      socket.say({ type: "queued", id: run.id, position: 1, waiting: 1 });
      console.log(socket.sent.map(({ type }) => type).join());
      socket.say({ type: "started", id: run.id, stage: "run" });
      run.resize(50, 20);
      console.log(socket.sent.map(({ type, columns }) => columns ?? type).join());
      connection.close();
    """
    assert await play_alone(node, script) == "run\nrun,100,50\n"


async def test_an_error_about_a_signal_or_a_size_refuses_no_run(node):
    script = """
      const connection = dial();
      await reached(connection, "open");
      const [socket] = Fake.all;
      const run = connection.run({ language: "bash", code: "" });
      run.on("error", ({ code }) => console.log(code));
      socket.say({ type: "error", id: run.id, code: "no_such_run", message: "", path: "$.id" });
      socket.say({ type: "error", id: run.id, code: "bad_message", message: "", path: "$.signal" });
      socket.say({ type: "exit", id: run.id, reason: "exited", code: 0 });
      console.log((await run.exit).reason);
      const refused = connection.run({ language: "bash", code: "" });
      const error = { type: "error", code: "bad_message", message: "", path: "$.args" };
      socket.say({ ...error, id: refused.id });
      console.log(await refused.exit.catch(({ path }) => path));
      connection.close();
    """
    assert await play_alone(node, script) == "no_such_run\nbad_message\nexited\n$.args\n"


async def test_a_listener_may_run_again_or_throw_when_the_connection_is_lost(node):
    script = """
      process.on("uncaughtException", ({ message }) => console.log("uncaught", message));
      const connection = dial({ minMs: 1 });
      await reached(connection, "open");
      const first = connection.run({ language: "bash", code: "1" });
      const second = connection.run({ language: "bash", code: "2" });
      const back = reached(connection, "open");
      first.on("error", () => { throw new Error("of mine"); });
      first.on("error", () => connection.run({ language: "bash", code: "again" }));
      Fake.all[0].onclose({ code: 1006, reason: "" });
      console.log(await second.exit.catch(({ code }) => code));
      await back;
      console.log(Fake.all[1].sent.map(({ code }) => code).join());
      connection.close();
    """
    assert await play_alone(node, script) == "uncaught of mine\nconnection_lost\nagain\n"


async def test_a_server_that_opens_only_to_close_is_left_alone_in_the_end(node):
    script = """
      Fake.busy = true;
      const connection = dial({ attempts: 3, minMs: 1 });
      await reached(connection, "closed");
      console.log(Fake.all.length);
    """
    assert await play_alone(node, script) == "4\n"


async def test_a_line_may_come_in_many_pieces_and_may_be_left(node):
    script = r"""
      const connection = dial();
      await reached(connection, "open");
      const [socket] = Fake.all;
      const run = connection.run({ language: "bash", code: "" });
      const say = (data, type = "stdout") => socket.say({ type, id: run.id, seq: 1, data });
      for (const data of ["a", "b", "c\r\nd", "\n\n", "e"]) say(data);
      say("f", "stderr");
      socket.say({ type: "exit", id: run.id, reason: "exited", code: 0 });
      for await (const { text } of run) console.log(JSON.stringify(text));
      const left = connection.run({ language: "bash", code: "" });
      socket.say({ type: "stdout", id: left.id, seq: 1, data: "one\ntwo\n" });
      for await (const line of left) break;
      console.log(await left.lines().next().catch(({ code }) => code));
      connection.close();
    """
    assert await play_alone(node, script) == '"abc"\n"d"\n""\n"e"\n"f"\niterated\n'


async def test_a_token_that_no_header_can_hold_is_told_as_such(node):
    script = """
      const connection = connect("ws://fake", { WebSocket: Fake, token: "not a token" });
      console.log(connection.state);
      const run = connection.run({ language: "bash", code: "" });
      console.log(await run.exit.catch(({ code }) => code), Fake.all.length);
    """
    assert await play_alone(node, script) == "closed\nbad_token 0\n"


async def test_stdin_that_nobody_awaits_arrives_whole_and_in_order(node, server):
    script = """
      import { connect } from "./wsrunner.js";
      const connection = connect("http://127.0.0.1:8001");
      const code = "import sys; t = sys.stdin.read(); print(len(t), t.find('b'), t[-1])";
      const run = connection.run({ language: "python", code });
      run.stdin("a".repeat(2_000_000));
      run.stdin("b");
      run.eof();
      console.log((await run.collect()).stdout.trim());
      connection.close();
    """
    assert await play(node, server, script) == "2000001 2000000 b\n"
