"""The JavaScript client outside of a browser: its document's examples, and lost connections."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import absent
from tests.talk import PATIENCE_S
from wsrunner.static_files import static_dir

DOCUMENT = Path(__file__).parents[2] / "docs" / "javascript.md"
CLIENT = (static_dir() / "wsrunner.js").as_uri()
EXAMPLES = re.findall(r"```js\n(.*?)```\n\n```\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


@pytest.fixture(scope="session")
def node():
    """Node, as command; before 22 it has no WebSocket of its own and is given that of `ws`."""
    path = shutil.which("node") or absent("node")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    command = [path, "--input-type=module"]
    if int(said.stdout.lstrip("v").partition(".")[0]) >= 22:
        return command
    package = static_dir() / "node_modules" / "ws" / "wrapper.mjs"
    if not package.exists():
        absent("the package ws (make web)")
    script = f'import {{ WebSocket }} from "{package.as_uri()}"; globalThis.WebSocket = WebSocket;'
    return [*command, f"--import=data:text/javascript,{quote(script)}"]


async def play(node, serving, script):
    """Run a script with its server's address and the client's in place; return what it printed."""
    script = script.replace("./wsrunner.js", CLIENT).replace("127.0.0.1:8001", serving.address)
    process = await asyncio.create_subprocess_exec(
        *node, "--eval", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def test_the_document_has_examples():
    assert len(EXAMPLES) == 5


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
        *node, "--eval", script, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        assert await process.stdout.readline() == b"on\n"
        serving.kill()
        assert await process.stdout.readline() == b"connection_lost\n"
        serving.options["port"] = serving.address.rpartition(":")[2]
        serving.start()
        assert await process.stdout.read() == b"again\n"
        assert await process.wait() == 0
