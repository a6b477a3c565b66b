"""Runs under gVisor: what the protocol promises holds there, but for what it can't know."""

import asyncio
import base64

import pytest

from tests.gvisor_engine import gvisor_engine
from tests.serving import Serving, until

LANGUAGES = ("python", "c")


@pytest.fixture(scope="module")
def shared(need, tmp_path_factory):
    """A server all of whose containers are gVisor's."""
    images = [need(language) for language in LANGUAGES]
    folder = tmp_path_factory.mktemp("gvisor")
    with gvisor_engine(images) as host:
        server = Serving(
            folder / "server.log",
            docker_host=host,
            runtime="runsc",
            slots=2,
            warm="python=1",
            warm_terminals=1,
        )
        server.start()
        try:
            until(lambda: server.status("/readyz") == 200, "the server is ready")
            yield server
        finally:
            server.stop()
            left = server.containers()
        assert not left
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
async def gvisor(shared):
    """A socket to it; each test must leave it without a run."""
    async with shared.talk() as talk:
        yield talk
    await asyncio.to_thread(shared.settle)


async def test_the_kernel_is_gvisor_s(gvisor):
    outcome = await gvisor.run("python", "print(open('/proc/version').read())")
    assert outcome.stdout.startswith("Linux version 4.4.0 ")
    # Its own figures it does not tell.
    assert (outcome.code, outcome.cpu_ms, outcome.memory_kb) == (0, None, None)


async def test_output_and_exit_code_are_the_program_s(gvisor):
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    outcome = await gvisor.run("python", code)
    assert (outcome.stdout, outcome.stderr, outcome.code) == ("out\n", "err\n", 7)


async def test_stdin_arrives_while_it_runs(gvisor):
    await gvisor.say("run", language="python", code="print('name?')\nprint('hello', input())")
    await gvisor.hear_output("name?\n")
    await gvisor.say("stdin", data="Ada\n")
    assert (await gvisor.finish()).stdout == "name?\nhello Ada\n"


async def test_a_program_is_never_said_to_wait_for_input(gvisor):
    await gvisor.say("run", language="python", code="print('name?')\ninput()", waiting=True)
    await gvisor.hear_output("name?\n")
    await gvisor.say("stdin", data="\n")
    outcome = await gvisor.finish()
    assert "waiting" not in {event["type"] for event in outcome.events}


async def test_signals_reach_the_program(gvisor):
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(5))\n"
        "print('ready')\n"
        "while True: time.sleep(1)\n"
    )
    await gvisor.say("run", language="python", code=code)
    await gvisor.hear_output("ready\n")
    await gvisor.say("signal", signal="SIGINT")
    assert (await gvisor.finish()).code == 5


async def test_a_signal_that_kills_is_told(gvisor):
    outcome = await gvisor.run("python", "import os; os.kill(os.getpid(), 11)")
    assert (outcome.reason, outcome.signal) == ("signaled", "SIGSEGV")


async def test_cancelling_ends_it(gvisor):
    await gvisor.say("run", language="python", code="print('ready')\nwhile True: pass")
    await gvisor.hear_output("ready\n")
    await gvisor.say("cancel")
    assert (await gvisor.finish()).reason == "cancelled"


async def test_a_time_limit_ends_it(gvisor):
    outcome = await gvisor.run("python", "while True: pass", limits={"wall_s": 1})
    assert outcome.reason == "timeout"


async def test_a_memory_limit_ends_it(gvisor):
    code = "print('ready', flush=True)\nheld = bytearray(300 << 20)\nprint(len(held))"
    outcome = await gvisor.run("python", code, limits={"memory_mb": 128})
    assert (outcome.reason, outcome.stdout) == ("out_of_memory", "ready\n")


async def test_files_go_in_and_come_out(gvisor):
    files = [
        {"name": "main.py", "content": "import a.b\nopen('out.txt', 'w').write(a.b.word)"},
        {"name": "a/b.py", "content": "word = 'there'"},
    ]
    outcome = await gvisor.run("python", files=files, outputs=["out.txt"])
    (file,) = [event for event in outcome.events if event["type"] == "file"]
    assert (file["name"], base64.b64decode(file["base64"])) == ("out.txt", b"there")
    assert outcome.code == 0


async def test_root_and_network_are_closed(gvisor):
    code = (
        "import socket\n"
        "try: open('/etc/x', 'w')\n"
        "except OSError as exc: print(type(exc).__name__)\n"
        "try: socket.create_connection(('192.0.2.1', 80), 5)\n"
        "except OSError as exc: print('no way')\n"
    )
    outcome = await gvisor.run("python", code)
    assert outcome.stdout.split("\n")[1:] == ["no way", ""], outcome.stdout


async def test_a_terminal_is_one(gvisor):
    code = "import os, sys; print(sys.stdin.isatty(), *os.get_terminal_size())"
    outcome = await gvisor.run("python", code, tty={"columns": 91, "rows": 17})
    assert outcome.stdout.strip() == "True 91 17"


async def test_what_has_to_be_compiled_is(gvisor):
    code = '#include <stdio.h>\nint main(void) { puts("built"); return 3; }'
    outcome = await gvisor.run("c", code)
    assert (outcome.stages, outcome.stdout, outcome.code) == (["build", "run"], "built\n", 3)
