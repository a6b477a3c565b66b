"""``wsrunner run`` as a user sees it: a process with signals, a terminal and an exit code.

Those below "Edges" talk to a scripted server in this process; all others to a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import http
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from websockets.asyncio.server import serve

from tests import serving
from wsrunner.commands import dashboard, main

WSRUNNER = [sys.executable, "-c", "from wsrunner.commands.main import main; main()"]
ROOT = Path(__file__).parents[1]
PATIENCE_S = 30


def environment(url=None, **more):
    """The caller's, without what would steer the client, with the package on the path."""
    address = {} if url is None else {"WSRUNNER_URL": url}
    return serving.environment(PYTHONPATH=str(ROOT), **address, **more)


@pytest.fixture
def url(server):
    """A real server with slots for all."""
    return server.url


@pytest.fixture
def narrow(one_slot):
    """A real server with one slot, so that a second run waits."""
    return one_slot.url


def run(url, *args, input=b"", cwd=None, **env):  # noqa: A002 - as subprocess.run names it
    """Run the command to its end, with pipes."""
    return subprocess.run(
        [*WSRUNNER, "run", *map(str, args)],
        input=input,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=cwd,
        env=environment(url, **env),
    )


def python(url, code, *args, **more):
    return run(url, "-l", "python", "-c", code, *args, **more)


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, url, *args):
        self.own, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [*WSRUNNER, "run", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # So that Ctrl-C reaches it: a session's terminal is the first it opens.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
            env=environment(url),
        )
        self.theirs = theirs
        self.seen = b""

    def type(self, keys):
        os.write(self.own, keys)

    def until(self, text):
        """Read until `text` has shown since the last call; return all up to its end."""
        deadline_s = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            ready = select.select([self.own], [], [], deadline_s - time.monotonic())[0]
            assert ready, f"{text!r} did not show, only {self.seen!r}"
            self.seen += os.read(self.own, 4096)
        end = self.seen.index(text) + len(text)
        shown, self.seen = self.seen[:end], self.seen[end:]
        return shown

    def resize(self, columns, rows):
        fcntl.ioctl(self.own, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ends(self):
        """Wait for the end; return the exit code. What was not read yet is in `seen`."""
        code = self.process.wait(PATIENCE_S)
        while select.select([self.own], [], [], 0)[0]:
            self.seen += os.read(self.own, 4096)
        return code

    def is_as_before(self):
        return termios.tcgetattr(self.theirs) == self.before


@pytest.fixture
def terminal(url):
    opened = []

    def open_terminal(*args, to=url):
        opened.append(Terminal(to, *args))
        return opened[-1]

    yield open_terminal
    for each in opened:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        os.close(each.own)
        os.close(each.theirs)


# Output, input, exit code.


def test_merge_prints_stderr_on_stdout_in_the_order_written(url):
    code = "import os\nfor i in range(200): os.write(1 + i % 2, b'%d\\n' % i)"
    done = python(url, code, "--merge")
    assert done.stdout == b"".join(b"%d\n" % number for number in range(200))
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_input_arguments_and_exit_code_pass_through(url, tmp_path):
    (tmp_path / "hello.py").write_text(
        "import os, sys\n"
        "print('out', sys.argv[1:], os.environ['K'], input())\n"
        "print('err', file=sys.stderr)\n"
        "sys.exit(7)\n"
    )
    done = run(url, "hello.py", "-e", "K=V", "--", "-l", "a b", input=b"line\n", cwd=tmp_path)
    assert done.stdout == b"out ['-l', 'a b'] V line\n"
    assert done.stderr == b"err\n"
    assert done.returncode == 7


def test_any_bytes_pass_unaltered_in_both_directions(url):
    every = bytes(range(256)) * 5000
    copy = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    done = python(url, copy, input=every)
    assert done.stdout == every


def test_stdin_comes_from_a_file_or_is_empty(url, tmp_path):
    count = "import sys; print(len(sys.stdin.buffer.read()))"
    (tmp_path / "in").write_bytes(b"\xff" * 1_000_000)
    assert python(url, count, "--stdin", tmp_path / "in").stdout == b"1000000\n"
    with Path(os.devnull).open("rb") as null:
        command = [*WSRUNNER, "run", "-l", "python", "-c", count]
        got = subprocess.check_output(command, stdin=null, env=environment(url), timeout=PATIENCE_S)
    assert got == b"0\n"


def test_a_program_need_not_read_its_stdin(url):
    assert python(url, "print('bye')", input=b"x" * 2_000_000).stdout == b"bye\n"


def test_source_comes_from_stdin(url):
    done = run(url, "-l", "py", "-", input=b"import sys; print([sys.stdin.read()])")
    assert done.stdout == b"['']\n"


def test_closed_descriptors_do_no_harm(url):
    line = f"{' '.join(map(repr, WSRUNNER))} run -l python -c 'print(1)' <&- 2>&-"
    done = subprocess.run(
        ["bash", "-c", line],
        env=environment(url),
        stdout=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.stdout, done.returncode) == (b"1\n", 0)


def test_several_files_and_directories_keep_their_place(url, tmp_path):
    (tmp_path / "app" / "lib").mkdir(parents=True)
    (tmp_path / "app" / "start.py").write_text(
        "from lib.a import x; print(__file__, x, open('data.bin', 'rb').read())"
    )
    (tmp_path / "app" / "lib" / "a.py").write_text("x = 5")
    (tmp_path / "data.bin").write_bytes(b"\xff\x00")
    done = run(url, "app/start.py", "app/lib", "data.bin", cwd=tmp_path)
    assert done.stdout == b"/home/glot/start.py 5 b'\\xff\\x00'\n", done.stderr


def test_a_script_without_extension_goes_by_its_first_line(url, tmp_path):
    (tmp_path / "script").write_text("#!/usr/bin/env python3\nprint('yes')")
    assert run(url, tmp_path / "script").stdout == b"yes\n"


def test_a_command_replaces_the_run_command(url):
    done = python(url, "print('from the file')", "--command", "cat main.py | tr a-z A-Z")
    assert done.stdout == b"PRINT('FROM THE FILE')"


# How runs end.


@pytest.mark.parametrize(
    ("code", "options", "status", "said"),
    [
        ("import os; os.kill(0, 11)", (), 139, b"ended by SIGSEGV"),
        ("while True: pass", ("--wall-s", "0.5"), 124, b"longer than its time limit"),
        ("while True: pass", ("--cpu-s", "1"), 152, b"more CPU time"),
        ("x = 'x' * 10**9", ("--memory-mb", "64"), 137, b"more memory"),
        ("while True: print('x')", ("--output-kb", "1"), 153, b"more than its output limit"),
    ],
)
def test_each_end_has_its_exit_code_and_one_line(url, code, options, status, said):
    done = python(url, code, *options)
    assert done.returncode == status
    assert re.fullmatch(rb"wsrunner: [^\n]*%s[^\n]*\n" % said, done.stderr), done.stderr


def test_stats_say_what_the_run_used(url):
    done = python(url, "print(1)", "--stats")
    assert re.fullmatch(
        r"wsrunner: exited 0, queued \d+ ms, wall [\d.]+ ms, cpu ([\d.]+ ms|-), "
        r"memory ([\d.]+ MiB|-), output 2 bytes\n",
        done.stderr.decode(),
    )


def test_json_prints_the_messages_of_the_server(url):
    done = python(url, "print(1)", "--json")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert [message["type"] for message in messages] == ["started", "stdout", "exit"]
    assert done.stderr == b""


def test_a_reader_that_leaves_ends_the_run_quietly(narrow):
    line = f"{' '.join(map(repr, WSRUNNER))} run -l python -c 'while True: print(1)' | head -n 2"
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(narrow),
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (b"1\n1\n", b"", 141)
    # There is one slot: this would wait if the run still held it.
    assert python(narrow, "print('free')").stdout == b"free\n"


# What can't run.


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("-l", "pyton", "-c", "1"), 64, "did you mean 'python'.*the server has .*python"),
        (("-c", "1"), 64, "--language"),
        (("-l", "python", "-c", "1", "--memory-mb", "999999"), 64, "memory_mb is 999999 MiB"),
        (("-l", "sac", "-c", "1"), 69, "image of sac"),
        (("none.py",), 66, r"none\.py: No such file"),
        (("-l", "python", "-c", "1", "--stdin", "none.txt"), 66, r"none\.txt: No such file"),
        (("-l", "python", "-c", "1", "/etc/hostname"), 66, "is outside of"),
        (("-l", "python", "-c", "1", "-e", "K"), 2, "K=V"),
        ((), 2, "name a file to run"),
        (("-l", "python", "-c", "1", "--tty"), 2, "needs a terminal"),
        (("--url", "ftp://x", "-c", "1"), 2, "not the URL"),
    ],
)
def test_what_can_not_run_says_why(url, tmp_path, args, status, said):
    done = run(url, *args, cwd=tmp_path)
    assert re.search(said, done.stderr.decode()), done.stderr
    assert "Traceback" not in done.stderr.decode()
    assert done.returncode == status
    assert done.stdout == b""


def test_a_file_larger_than_the_server_takes_is_refused(url, tmp_path):
    for size_kib, name in ((1100, "a.py"), (6000, "b.py")):
        (tmp_path / name).write_text("#" * size_kib * 1024)
        done = run(url, tmp_path / name)
        assert done.returncode == 65, done.stderr
        assert done.stderr.count(b"\n") == 1


def test_no_server_says_how_to_start_one():
    done = python("127.0.0.1:9", "1")
    assert done.returncode == 69
    assert b"no server at ws://127.0.0.1:9 (connection refused): start one with" in done.stderr


# Signals and terminals.


def test_a_prompt_shows_and_is_answered_by_line(terminal):
    shown = terminal("-l", "python", "-c", "print('hi', input('name? '))")
    shown.until(b"name? ")
    shown.type(b"Ada\r")
    shown.until(b"hi Ada\r\n")
    assert shown.ends() == 0


def test_ctrl_d_is_the_end_of_stdin(terminal):
    shown = terminal("-l", "python", "-c", "import sys\nprint('up')\nprint(sys.stdin.readlines())")
    shown.until(b"up\r\n")
    shown.type(b"a\r\x04")
    shown.until(b"['a\\n']\r\n")
    assert shown.ends() == 0


def test_ctrl_c_interrupts_the_program_and_not_the_client(terminal):
    code = (
        "import time\nprint('up')\ntry:\n  while True: time.sleep(0.05)\n"
        "except KeyboardInterrupt:\n  print('caught')\n  raise SystemExit(5)"
    )
    shown = terminal("-l", "python", "-c", code)
    shown.until(b"up\r\n")
    shown.type(b"\x03")
    shown.until(b"caught\r\n")
    assert shown.ends() == 5


def test_ctrl_c_twice_cancels_a_program_that_ignores_it(terminal):
    code = (
        "import signal, time\nsignal.signal(2, lambda *_: print('no'))\nprint('up')\n"
        "while True: time.sleep(0.05)"
    )
    shown = terminal("-l", "python", "-c", code)
    shown.until(b"up\r\n")
    shown.type(b"\x03")
    shown.until(b"no\r\n")
    while shown.process.poll() is None:  # a slow machine may take more than a second in between
        shown.type(b"\x03")
        time.sleep(0.2)
    assert shown.ends() == 130
    assert b"wsrunner" not in shown.seen


def test_sigterm_cancels_the_run(narrow):
    with subprocess.Popen(
        [*WSRUNNER, "run", "-l", "python", "-c", "print('up')\nimport time; time.sleep(99)"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment(narrow),
    ) as process:
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(PATIENCE_S) == 143
    assert python(narrow, "print('free')").stdout == b"free\n"


def test_the_position_shows_while_a_run_waits_and_then_goes(narrow, terminal):
    with subprocess.Popen(
        [*WSRUNNER, "run", "-l", "python", "-c", "print('up'); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(narrow),
    ) as first:
        assert first.stdout.readline() == b"up\n"
        shown = terminal("-l", "python", "-c", "print('mine')", to=narrow)
        shown.until(b"\r\x1b[Kwaiting: position 1 of 1")
        first.communicate(b"\n", PATIENCE_S)
        assert shown.until(b"mine\r\n").endswith(b"\r\x1b[Kmine\r\n")
        assert shown.ends() == 0


def test_ctrl_c_leaves_the_queue(narrow, terminal):
    with subprocess.Popen(
        [*WSRUNNER, "run", "-l", "python", "-c", "print('up'); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(narrow),
    ) as first:
        assert first.stdout.readline() == b"up\n"
        shown = terminal("-l", "python", "-c", "print('mine')", to=narrow)
        shown.until(b"waiting")
        shown.type(b"\x03")
        assert shown.ends() == 130
        first.communicate(b"\n", PATIENCE_S)
        assert first.returncode == 0


def test_a_terminal_run_gets_keys_and_sizes_and_gives_the_terminal_back(terminal):
    code = (
        "import os, signal, sys, termios, tty\n"
        "def size(*_): print(*os.get_terminal_size(), flush=True)\n"
        "signal.signal(signal.SIGWINCH, size)\n"
        "tty.setraw(0, termios.TCSANOW); size()\n"
        "while (key := os.read(0, 1)) != b'q': print(key)\n"
        "raise SystemExit(9)\n"
    )
    shown = terminal("-t", "-l", "python", "-c", code)
    shown.until(b"80 24")
    assert not shown.is_as_before()
    shown.type(b"\x03")
    shown.until(b"b'\\x03'")
    shown.resize(101, 33)
    shown.until(b"101 33")
    shown.type(b"q")
    assert shown.ends() == 9
    assert shown.is_as_before()


def test_the_terminal_is_given_back_when_the_client_is_told_to_go(terminal):
    shown = terminal("-t", "-l", "python", "-c", "print('up'); input()")
    shown.until(b"up")
    os.kill(shown.process.pid, signal.SIGTERM)
    assert shown.ends() == 143
    assert shown.is_as_before()


def test_source_larger_than_any_server_takes_is_refused_and_not_cut(url):
    done = run(url, "-l", "python", "-", input=b"#" * (64 * 2**20 + 1))
    assert done.stderr == b"wsrunner: stdin has more than 64 MiB, which no server takes\n"
    assert done.returncode == 65


# Edges: what a good server seldom does.


@asynccontextmanager
async def scripted(script, **options):
    async def serve_one(socket):
        with contextlib.suppress(ConnectionError):
            await script(socket)

    async with serve(serve_one, "127.0.0.1", 0, subprotocols=["wsrunner.v1"], **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def edge(script, *args, **options):
    """Run one line of Python by a script; return the finished process."""
    async with scripted(script, **options) as url:
        return await asyncio.to_thread(run, url, "-l", "python", "-c", "1", *args)


def event(kind, **fields):
    return json.dumps({"type": kind, "id": "r1", **fields})


async def test_a_full_queue_says_when_to_try_again():
    async def script(socket):
        await socket.recv()
        message = "the queue holds 5 runs, its limit"
        await socket.send(event("error", code="queue_full", message=message, retry_after_s=4))
        await socket.wait_closed()

    done = await edge(script)
    assert done.stderr == b"wsrunner: the queue holds 5 runs, its limit; try again in 4 s\n"
    assert done.returncode == 75


async def test_the_queue_is_one_line_a_change_where_there_is_no_terminal():
    async def script(socket):
        await socket.recv()
        for position in (2, 1):
            await socket.send(event("queued", run="s", position=position, waiting=2))
        await socket.send(event("started", run="s", stage="run"))
        await socket.send(event("exit", run="s", stage="run", reason="exited", code=0))
        await socket.wait_closed()

    done = await edge(script)
    assert done.stderr == (
        b"wsrunner: waiting: position 2 of 2\nwsrunner: waiting: position 1 of 2\n"
    )


async def test_a_failed_build_exits_with_the_code_of_the_build():
    async def script(socket):
        await socket.recv()
        await socket.send(event("started", run="s", stage="build"))
        await socket.send(event("exit", run="s", stage="build", reason="exited", code=3))
        await socket.wait_closed()

    done = await edge(script)
    assert (done.stderr, done.returncode) == (b"wsrunner: the build failed with code 3\n", 3)


async def test_a_lost_connection_is_one_line():
    async def script(socket):
        await socket.recv()
        await socket.send(event("started", run="s", stage="run"))
        await socket.send(event("stdout", seq=1, data="some\n"))
        await socket.close(4408, "nothing was read for 30 s")

    done = await edge(script)
    assert done.stdout == b"some\n"
    assert b"no output was taken for too long (4408): nothing was read for 30 s" in done.stderr
    assert done.returncode == 76


async def test_a_token_is_asked_for_and_never_shown():
    def refuse(connection, request):
        if request.headers.get("X-Access-Token") == "s3cret":
            return connection.respond(http.HTTPStatus.FORBIDDEN, "")
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "")

    async def never(socket):
        raise AssertionError

    done = await edge(never, process_request=refuse)
    assert b"needs an access token" in done.stderr
    assert b"WSRUNNER_TOKEN" in done.stderr
    assert done.returncode == 77
    done = await edge(never, "--token", "s3cret", process_request=refuse)
    assert (b"does not allow" in done.stderr, done.returncode) == (True, 77)
    assert b"s3cret" not in done.stderr + done.stdout


async def test_a_token_may_come_from_a_file(tmp_path):
    sent = []

    def note(connection, request):
        sent.append(request.headers.get("X-Access-Token"))
        return connection.respond(http.HTTPStatus.FORBIDDEN, "")

    async def never(socket):
        raise AssertionError

    file = tmp_path / "token"
    file.write_text("s3cret\n")
    file.chmod(0o600)
    done = await edge(never, "--token-file", str(file), process_request=note)
    assert set(sent) == {"s3cret"}
    assert b"can be read" not in done.stderr
    file.chmod(0o644)
    done = await edge(never, "--token-file", str(file), process_request=note)
    assert f"{file} can be read by everybody".encode() in done.stderr
    assert b"s3cret" not in done.stderr + done.stdout
    done = await edge(never, "--token-file", str(file), "--token", "x", process_request=note)
    assert (b"give one" in done.stderr, done.returncode) == (True, 2)
    file.write_text("")
    done = await edge(never, "--token-file", str(file), process_request=note)
    assert (b"is empty" in done.stderr, done.returncode) == (True, 2)


async def test_a_third_ctrl_c_ends_a_client_whose_server_does_not_answer():
    cancelled = asyncio.Event()

    async def script(socket):
        await socket.recv()
        await socket.send(event("started", run="s", stage="run"))
        await socket.send(event("stdout", seq=1, data="up\n"))
        async for message in socket:
            if json.loads(message)["type"] == "cancel":
                cancelled.set()

    async with scripted(script) as url:
        process = await asyncio.create_subprocess_exec(
            *WSRUNNER, "run", "-l", "python", "-c", "1",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment(url),
        )  # fmt: skip
        assert await process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        while not cancelled.is_set():  # two signals at once may be seen as one
            await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        assert await process.wait() == 130


def test_output_to_a_full_disk_is_told(url):
    try:
        full = os.open("/dev/full", os.O_WRONLY)
    except OSError as exc:
        assert exc.errno == errno.ENOENT  # noqa: PT017
        pytest.skip("needs /dev/full")
    done = subprocess.run(
        [*WSRUNNER, "run", "-l", "python", "-c", "print(1)"],
        stdin=subprocess.DEVNULL,
        stdout=full,
        stderr=subprocess.PIPE,
        env=environment(url),
        timeout=PATIENCE_S,
        check=False,
    )
    os.close(full)
    assert done.stderr == b"wsrunner: can't write to stdout: No space left on device\n"
    assert done.returncode == 74


@pytest.mark.parametrize(
    ("variables", "token"),
    [
        ({}, None),
        ({"WSRUNNER_TOKEN": "client"}, "client"),
        ({"WSRUNNER_TOKEN": "client", "WSRUNNER_OPERATOR_TOKEN": "operator"}, "operator"),
        ({"WSRUNNER_TOKEN_FILE": "client.txt"}, "client-in-a-file"),
        ({"WSRUNNER_TOKEN_FILE": "client.txt", "WSRUNNER_OPERATOR_TOKEN": "operator"}, "operator"),
        (
            {"WSRUNNER_TOKEN": "client", "WSRUNNER_OPERATOR_TOKEN_FILE": "operator.txt"},
            "operator-in-a-file",
        ),
    ],
)
def test_the_monitor_takes_the_operator_token_before_the_clients(
    monkeypatch, tmp_path, variables, token
):
    monkeypatch.chdir(tmp_path)
    for who in ("client", "operator"):
        (tmp_path / f"{who}.txt").write_text(f"{who}-in-a-file\n")
    for name in ("WSRUNNER_TOKEN", "WSRUNNER_OPERATOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    shown = []
    monkeypatch.setattr(dashboard, "show", lambda url, token, **_: shown.append(token))
    done = CliRunner().invoke(main.main, ["monitor"], env=variables)
    assert done.exit_code == 0, done.output
    assert shown == [token]


@pytest.mark.parametrize("name", ["WSRUNNER_TOKEN", "WSRUNNER_OPERATOR_TOKEN"])
def test_a_token_that_is_given_twice_is_refused(name):
    done = CliRunner().invoke(main.main, ["monitor"], env={name: "x", f"{name}_FILE": "y"})
    assert f"{name} and {name}_FILE are both given; give one" in done.output
    assert done.exit_code == 2


def test_an_option_for_the_token_goes_before_variables(monkeypatch):
    shown = []
    monkeypatch.setattr(dashboard, "show", lambda url, token, **_: shown.append(token))
    variables = {"WSRUNNER_TOKEN_FILE": "none", "WSRUNNER_OPERATOR_TOKEN": "variable"}
    done = CliRunner().invoke(main.main, ["monitor", "--token", "option"], env=variables)
    assert done.exit_code == 0, done.output
    assert shown == ["option"]


def test_the_monitor_takes_its_token_from_a_file(monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text("operator")
    shown = []
    monkeypatch.setattr(dashboard, "show", lambda url, token, **_: shown.append(token))
    done = CliRunner().invoke(main.main, ["monitor", "--token-file", str(file)])
    assert done.exit_code == 0, done.output
    assert shown == ["operator"]


def test_the_examples_in_the_docs_run_as_they_stand(url, tmp_path):
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    printed = {
        "collect": b"b'olleh\\n' exited 0\n",
        "run": b"stdout b'name? '\nstdout b'hi Ada\\n'\n0\n",
        "attach": b"b'name? '\nb'hi Ada\\n'\n",
        "rooms": (
            b"[('Ada', 'own'), ('Bob', 'watch')]\nall there is: []\nchanged: b'Hello'\n"
            b"[b'42\\n']\nclosed\n"
        ),
    }
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    # The plot runs in an image of 1 GB, not here.
    (plot,) = (program for program in programs if "matplotlib" in program)
    compile(plot, "plot.py", "exec")
    examples = [program for program in programs if program != plot]
    assert len(examples) == len(printed)
    for example, expected in zip(examples, printed.values(), strict=True):
        assert expected.decode().strip() in text
        script = tmp_path / "example.py"
        script.write_text(example.replace("ws://127.0.0.1:8001", url))
        command = [sys.executable, script]
        assert subprocess.check_output(command, env=environment(), timeout=PATIENCE_S) == expected
