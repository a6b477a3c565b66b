"""The plain protocol: source in, raw output out, the outcome as close reason."""

import asyncio
import contextlib
import functools
import subprocess

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.talk import PATIENCE_S


async def converse(socket, *messages):
    """Send messages, hear to the end; return (messages heard, close code, close reason)."""
    for message in messages:
        await socket.send(message)
    heard = []
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                heard.append(await socket.recv())
    return heard, socket.close_code, socket.close_reason


async def outcome(server, language, source, *more):
    async with server.plain(language) as socket:
        return await converse(socket, source, *more)


async def test_source_in_output_out_and_the_outcome_as_close_reason(server):
    heard, code, reason = await outcome(server, "python", "print('hello')")
    assert ("".join(heard), code, reason) == ("hello\n", 1000, "exit 0")


@pytest.mark.parametrize(
    ("language", "source", "expected"),
    [
        ("python", "raise SystemExit(3)", "exit 3"),
        ("python", "import os; os._exit(139)", "exit 139"),
        ("python", "import os; os.kill(os.getpid(), 11)", "signal SIGSEGV"),
        ("python", "x = []\nwhile True: x.append(bytearray(10**6))", "out_of_memory"),
        ("py", "print(1)", "exit 0"),
    ],
)
async def test_each_outcome_has_its_words(server, language, source, expected):
    assert (await outcome(server, language, source))[1:] == (1000, expected)


async def test_limits_of_the_server_have_their_words(start_server):
    server = start_server(wall_s=1, output_kb=4, cpu_s=1, warm_max=0)
    assert (await outcome(server, "bash", "sleep 600"))[1:] == (1000, "timeout")
    heard, code, reason = await outcome(server, "bash", "yes")
    assert (code, reason, len("".join(heard))) == (1000, "output_limit", 4096)


async def test_a_failed_build_says_so(server, need):
    need("c")
    heard, code, reason = await outcome(server, "c", "int main(void) { return nothing; }")
    assert (code, reason) == (1000, "exit 1 (build)")
    assert "nothing" in "".join(heard)


async def test_stdout_and_stderr_both_come(server):
    heard, _, _ = await outcome(server, "bash", "echo out; echo err >&2")
    assert sorted("".join(heard).splitlines()) == ["err", "out"]


async def test_later_messages_are_stdin_and_an_empty_one_ends_it(server):
    source = (
        "import sys\nfor line in sys.stdin: print('got', line, end='', flush=True)\nprint('end')"
    )
    heard, _, reason = await outcome(server, "python", source, "one\n", "two\n", "")
    assert ("".join(heard), reason) == ("got one\ngot two\nend\n", "exit 0")


async def test_what_comes_after_the_end_of_stdin_is_ignored(server):
    heard, _, reason = await outcome(server, "bash", "cat; echo end", "a\n", "", "b\n", "")
    assert ("".join(heard), reason) == ("a\nend\n", "exit 0")


@pytest.mark.parametrize("source", ["echo é; echo x", b"echo \xc3\xa9; echo x"])
async def test_output_comes_in_the_kind_that_the_source_came_in(server, source):
    heard, _, _ = await outcome(server, "bash", source)
    assert {type(message) for message in heard} == {type(source)}
    assert type(source)().join(heard) == ("é\nx\n" if isinstance(source, str) else b"\xc3\xa9\nx\n")


async def test_output_that_is_no_text_comes_as_binary_even_to_text(server):
    heard, _, reason = await outcome(server, "bash", "printf 'a\\377\\000b'")
    assert reason == "exit 0"
    assert b"".join(m if isinstance(m, bytes) else m.encode() for m in heard) == b"a\xff\0b"


async def test_a_source_of_any_bytes_is_taken(server):
    heard, _, reason = await outcome(server, "bash", b"printf '\xff'")
    assert (b"".join(heard), reason) == (b"\xff", "exit 0")


async def test_an_empty_source_runs(server):
    assert await outcome(server, "python", "") == ([], 1000, "exit 0")


async def test_a_source_that_is_too_large_is_refused_with_1009(server):
    heard, code, reason = await outcome(server, "python", "#" * (1024 * 1024 + 1))
    assert (heard, code) == ([], 1009)
    assert "1048577 bytes; the limit is 1048576 bytes" in reason


@pytest.mark.parametrize("language", ["nolanguage", "a/b"])
async def test_an_unknown_language_is_404_at_the_handshake(server, language):
    with pytest.raises(InvalidStatus) as caught:
        async with server.plain(language):
            pass
    assert caught.value.response.status_code == 404


async def test_a_missing_image_closes_with_1008_and_the_code(server):
    missing = next(entry["id"] for entry in server.languages() if not entry["present"])
    heard, code, reason = await outcome(server, missing, "x")
    assert (heard, code) == ([], 1008)
    assert reason.startswith("image_missing: ")
    assert len(reason.encode()) <= 123


async def test_a_full_queue_closes_with_1013(one_slot):
    async with one_slot.talk() as talk, one_slot.talk() as other:
        await talk.say("run", id="1", language="bash", code="echo ready; read x")
        await talk.hear_output("ready", id="1")
        for each in (talk, other):
            await each.say("run", id="2", language="bash", code="echo")
            await each.hear_kind("queued", id="2")
        heard, code, reason = await outcome(one_slot, "bash", "echo")
        assert (heard, code) == ([], 1013)
        assert reason.startswith("queue_full: ")
        await talk.say("eof", id="1")
        for each, name in ((talk, "1"), (talk, "2"), (other, "2")):
            assert (await each.finish(name)).reason == "exited"


async def test_a_run_that_has_to_wait_waits(one_slot):
    async with one_slot.talk() as talk, one_slot.plain("bash") as socket:
        await talk.say("run", language="bash", code="echo ready; read x")
        await talk.hear_output("ready")
        waiting = asyncio.create_task(converse(socket, "echo later; cat", "early\n", ""))
        while one_slot.metrics()["wsrunner_gate_waiting"] == 0:
            await asyncio.sleep(0.05)
        await talk.say("eof")
        assert (await talk.finish()).reason == "exited"
        heard, _, reason = await waiting
        assert ("".join(heard), reason) == ("later\nearly\n", "exit 0")


async def test_leaving_ends_the_run(one_slot):
    async with one_slot.plain("bash") as socket:
        await socket.send("echo ready; sleep 600")
        assert await socket.recv() == "ready\n"
    assert await outcome(one_slot, "bash", "echo next") == (["next\n"], 1000, "exit 0")


async def test_leaving_without_a_source_is_no_run(server):
    async with server.plain("python"):
        pass
    assert server.metrics()["wsrunner_gate_held"] == 0


async def test_too_much_unread_stdin_closes_with_1009(server):
    async with server.plain("bash") as socket:
        await socket.send("echo ready; sleep 600")
        assert await socket.recv() == "ready\n"
        with contextlib.suppress(ConnectionClosed):
            for _ in range(5):
                await socket.send("x" * 500_000)
        await socket.wait_closed()
        assert socket.close_code == 1009
        assert socket.close_reason


# With the real websocat.


@pytest.fixture
def cat(server, websocat, tmp_path):
    """A function that does ``websocat … < file`` and returns what it prints."""
    return functools.partial(_cat, websocat, server, tmp_path / "input")


def _cat(websocat, server, file, language, text, *arguments):
    file.write_bytes(text)
    with file.open("rb") as stdin:
        done = subprocess.run(
            [websocat, *arguments, f"{server.url}/v1/run/{language}"],
            stdin=stdin,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.stderr == b""
    return done.stdout


def test_websocat_runs_a_program(cat):
    source = b"import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint(6 * 7)\n"
    lines = cat("python", source, "-nb").splitlines()
    assert sorted(lines) == [b"42", b"err", b"out"]


def test_websocat_shows_bytes_as_they_are(cat):
    source = b"import sys\nsys.stdout.buffer.write(bytes(range(256)) * 400)\n"
    assert cat("python", source, "-nb") == bytes(range(256)) * 400


def test_websocat_takes_a_source_of_64_kib_and_more_with_a_larger_buffer(cat):
    source = b"# " + b"x" * 60_000 + b"\nprint('end')\n"
    assert cat("python", source, "-nb") == b"end\n"
    source = b"# " + b"x" * 300_000 + b"\nprint('end')\n"
    assert cat("python", source, "-nb", "-B", "1000000") == b"end\n"


def test_websocat_without_b_sends_lines(cat):
    # One line of source, then lines of stdin; it writes a newline in a message as a space.
    text = b"while read x; do echo got $x; [ $x = b ] && exit; done\na\nb\n"
    assert cat("bash", text, "-n").split() == b"got a got b".split()


def test_websocat_is_interactive(server, websocat):
    with subprocess.Popen(
        [websocat, "-n", f"{server.url}/v1/run/python"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        process.stdin.write("while True: print(int(input()) ** 2)\n")
        for number in (3, 4, 12):
            process.stdin.write(f"{number}\n")
            assert process.stdout.readline() == f"{number**2}\n"
        process.kill()
