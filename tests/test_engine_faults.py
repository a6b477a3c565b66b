"""An engine that cuts, corrupts, hangs or talks rubbish is told as what it is, not as the program's
end. Through a proxy before the real engine."""

import asyncio
import contextlib
import random
import tempfile

import pytest

from tests.engine_proxy import EngineProxy
from tests.serving import docker
from wsrunner.engines.docker.frames import FrameReader

LINES = 50
LINE = "x" * 99
OUTPUT = f"{LINE}\n" * LINES
# Frames of a hundred bytes and their headers; then comes the report.
OUTPUT_BYTES = len(OUTPUT)
TALK_THEN_EXIT = (
    "import sys, time\n"
    f"for _ in range({LINES}): print('{LINE}', flush=True); time.sleep(0.002)\n"
    "sys.exit(3)"
)
READY_THEN_WAIT = "import time\nprint('ready', flush=True)\ntime.sleep(600)"
RUNS = 24


@pytest.fixture
async def proxy(need):
    need("python")
    with tempfile.TemporaryDirectory(prefix="wsr-") as folder:
        async with EngineProxy(folder) as proxy:
            yield proxy


@contextlib.asynccontextmanager
async def served(proxy, start_server):
    """A server behind the proxy; it stops before the proxy does."""
    server = await asyncio.to_thread(start_server, slots=4, warm_max=0, docker_host=proxy.host)
    # The tests look at the engine past the proxy, whose loop is theirs.
    server.docker_host = None
    yield server
    proxy.answers = {}
    proxy.go_on()
    await asyncio.to_thread(server.settle)
    await asyncio.to_thread(server.stop)


@pytest.fixture
async def serving(proxy, start_server):
    async with served(proxy, start_server) as server:
        yield server


def cut(at):
    """Pass the first `at` bytes of a stream."""

    def spoil(so_far, piece):
        return piece[: max(0, at - so_far)]

    return spoil


def overwrite(at, data):
    """Put other bytes at a place of a stream."""

    def spoil(so_far, piece):
        whole = bytearray(piece)
        for place, byte in enumerate(data, at - so_far):
            if 0 <= place < len(piece):
                whole[place] = byte
        return bytes(whole)

    return spoil


async def many_runs(serving, code):
    async with serving.talk() as talk:
        names = [f"n{number}" for number in range(RUNS)]
        for name in names:
            await talk.say("run", id=name, language="python", code=code)
        return [await talk.finish(name) for name in names]


async def test_a_stream_that_is_cut_is_no_end_of_the_program(proxy, serving):
    # From before the first line to far behind the report.
    places = [number * (OUTPUT_BYTES + 2000) // RUNS for number in range(RUNS)]
    proxy.spoil = lambda number: cut(places[number])
    outcomes = await many_runs(serving, TALK_THEN_EXIT)
    for outcome in outcomes:
        assert OUTPUT.startswith(outcome.stdout)
        if outcome.reason == "exited":
            assert (outcome.stdout, outcome.code) == (OUTPUT, 3)
        else:
            assert outcome.reason == "engine_lost"
    assert {outcome.reason for outcome in outcomes} == {"exited", "engine_lost"}


async def test_a_cut_stream_is_told_though_the_program_goes_on(proxy, serving):
    proxy.spoil = lambda number: cut(len("ready\n"))
    async with serving.talk() as talk:
        outcome = await talk.run("python", READY_THEN_WAIT)
    assert (outcome.stdout, outcome.reason) == ("", "engine_lost")


async def test_a_corrupt_stream_is_no_end_of_the_program(proxy, serving):
    chance = random.Random(9)
    spoilt = [
        # Every other hits the first frame's header; four bytes anywhere before the report are text,
        # a header, or some of both.
        overwrite(number % 8 if number % 2 else chance.randrange(OUTPUT_BYTES), chance.randbytes(4))
        for number in range(RUNS)
    ]
    proxy.spoil = spoilt.__getitem__
    outcomes = await many_runs(serving, TALK_THEN_EXIT)
    for outcome in outcomes:
        if outcome.reason == "exited":
            # Only text was hit, which nobody can know.
            assert (outcome.output_bytes, outcome.code) == (OUTPUT_BYTES, 3)
        else:
            assert outcome.reason == "engine_lost"
    assert "engine_lost" in {outcome.reason for outcome in outcomes}


@pytest.mark.parametrize(
    "header",
    [b"\x03\0\0\0\0\0\0\x01", b"\x01\0\x01\0\0\0\0\x01", b"\x01\0\0\0\x7f\xff\xff\xff"],
    ids=["stream", "padding", "size"],
)
async def test_a_frame_that_can_not_be_ends_the_run_at_once(proxy, serving, header):
    proxy.spoil = lambda number: overwrite(0, header)
    async with serving.talk() as talk:
        outcome = await talk.run("bash", "echo; sleep 600")
    assert (outcome.reason, outcome.output_bytes) == ("engine_lost", 0)


async def test_half_a_frame_that_comes_while_nobody_reads_holds_nothing_up():
    class Protocol:
        paused = False

        def pause_reading(self):
            self.paused = True

        def resume_reading(self):
            self.paused = False

    protocol = Protocol()
    reader = FrameReader(protocol, tty=False)
    frame = b"\x01\0\0\0\0\0\0\x03abc"
    reader.feed_data(frame[:9])
    reading = asyncio.create_task(reader.read(None))
    await asyncio.sleep(0)
    assert not protocol.paused
    reader.feed_data(frame[9:])
    assert [bytes(found.data) for found in await reading] == [b"abc"]


async def test_containers_that_are_killed_are_told_from_streams_that_break(proxy, serving):
    proxy.spoil = lambda number: cut(len("ready\n") if number else 10**9)
    async with serving.talk() as talk:
        await talk.say("run", id="killed", language="python", code=READY_THEN_WAIT)
        await talk.hear_output("ready\n", id="killed")
        (container,) = serving.containers()
        await talk.say("run", id="cut", language="python", code=READY_THEN_WAIT)
        await talk.hear_started(id="cut")
        docker("kill", "--signal=KILL", container)
        killed, lost = await talk.finish("killed"), await talk.finish("cut")
    assert (killed.reason, killed.signal) == ("signaled", "SIGKILL")
    assert lost.reason == "engine_lost"


def answer(body, kind="application/json"):
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    "rubbish",
    [
        answer(b"<html>busy</html>"),
        answer(b"<html>busy</html>", "text/html"),
        answer(b"\xff\xfe"),
        answer(b""),
        answer(b'"text"'),
        answer(b'[{"no": 1}, 2]'),
        answer(b'{"no": 1}'),
        b"no HTTP at all\r\n\r\n",
    ],
    ids=["no JSON", "a page", "no UTF-8", "nothing", "text", "a list", "an object", "no HTTP"],
)
async def test_an_answer_that_makes_no_sense_is_the_engine_s_fault(proxy, start_server, rubbish):
    # From the start on, for the list of images is asked for only once. The log must be free of
    # tracebacks, which the fixture checks.
    proxy.answers = {"/images/json": rubbish}
    async with served(proxy, start_server) as serving, serving.talk() as talk:
        refused = await talk.run("python", "print(1)", id="images")
        assert refused.error["code"] == "engine_unavailable"
        proxy.answers = {"/containers/create": rubbish}
        refused = await talk.run("python", "print(1)", id="create")
        assert refused.error["code"] == "engine_unavailable"
        proxy.answers = {}
        await talk.say("run", language="python", code=READY_THEN_WAIT)
        await talk.hear_output("ready\n")
        proxy.answers = {"/events": rubbish}
        docker("kill", "--signal=KILL", *serving.containers())
        assert (await talk.finish()).reason == "engine_lost"


async def test_a_time_limit_is_told_while_the_engine_hangs(proxy, serving):
    async with serving.talk() as talk:
        await talk.say("run", language="python", code=READY_THEN_WAIT, limits={"wall_s": 1})
        await talk.hear_output("ready\n")
        proxy.hang()
        # The engine gets ten seconds to take it.
        await talk.say("signal", signal="SIGHUP")
        assert (await talk.finish()).reason == "timeout"
        assert "could not send SIGHUP" not in serving.log.read_text()
        assert serving.containers(), "the container is removed once the engine answers again"
