"""What a client that reads nothing or sends too much can't take: memory, slots, the stop."""

import array
import asyncio
import contextlib
import fcntl
import json
import signal
import socket
import struct
import termios
import time
from collections import Counter
from functools import partial

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from tests.serving import until
from tests.talk import PATIENCE_S
from wsrunner import languages
from wsrunner.protocol import File, RunRequest
from wsrunner.runs.order import make_order
from wsrunner.serving.connection import Connection
from wsrunner.serving.entrance import Doorway, Entrance
from wsrunner.serving.inlet import SHARE_UNITS, TURN_UNITS, Inlet, Pace, Rates, cut
from wsrunner.serving.knocks import Knocks
from wsrunner.serving.wire import job_of
from wsrunner.settings import Settings

FLOOD = "while True: print('y' * 1000)"
TEXT, CLOSE, PING = 1, 8, 9


class Deaf:
    """A WebSocket client that never reads, frame by frame (RFC 6455 section 5.2)."""

    def __init__(self, serving):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(PATIENCE_S)
        host, _, port = serving.address.rpartition(":")
        self._socket.connect((host, int(port)))
        self._socket.sendall(
            b"GET /v1/run HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._socket.recv(1)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._socket.close()

    def send(self, opcode, data=b"", times=1):
        size = len(data)
        header = bytes([0x80 | size]) if size < 126 else struct.pack(">BH", 0x80 | 126, size)
        # The mask is all zeros.
        self._socket.sendall((bytes([0x80 | opcode]) + header + b"\0\0\0\0" + data) * times)

    def say(self, kind, **fields):
        self.send(TEXT, json.dumps({"type": kind, **fields}).encode())

    def waiting_bytes(self):
        """Return how much has come that nobody has read (ioctl(2), FIONREAD)."""
        count = array.array("i", [0])
        fcntl.ioctl(self._socket, termios.FIONREAD, count)
        return count[0]

    def read_to_the_end(self):
        """Read until the server closes the connection."""
        with contextlib.suppress(ConnectionError):
            while self._socket.recv(2**20):
                pass

    def read_until_exit(self, run_id):
        """Return the messages up to this run's exit, output left out."""
        data, events = b"", []
        while not any(event["type"] == "exit" and event["id"] == run_id for event in events):
            data += self._socket.recv(2**20)
            events = [event for event in _json_objects(data) if event["type"] != "stdout"]
        return events


def _json_objects(data):
    """Yield the whole messages in a stream of frames, whatever stands between them."""
    decoder = json.JSONDecoder()
    text = data.decode("latin-1")
    at = text.find('{"type"')
    with contextlib.suppress(json.JSONDecodeError):
        while at >= 0:
            event, end = decoder.raw_decode(text, at)
            yield event
            at = text.find('{"type"', end)


async def flood(deaf, server):
    """Start a run that prints, and wait until it has filled all buffers on the way."""
    deaf.say("run", id="flood", language="python", code=FLOOD)
    before = -1
    while not before == deaf.waiting_bytes() > 0:
        before = deaf.waiting_bytes()
        await asyncio.sleep(1)


PATIENT = 'wsrunner.serving.port.listen.__kwdefaults__["close_timeout"] = 600'
"""Else websockets' own ten seconds would do late what is to be done at once."""


async def test_pings_without_reading_the_pongs_end_the_socket(server):
    before_kb = server.resident_kb()
    with Deaf(server) as deaf, pytest.raises(ConnectionError):
        deaf.send(PING, b"x" * 125, times=1_000_000)
    assert server.resident_kb() - before_kb < 32 * 1024


async def test_pings_of_a_client_that_reads_are_answered_for_ever(server):
    async with connect(f"{server.url}/v1/run", compression=None) as connection:
        for _ in range(2000):
            async with asyncio.timeout(PATIENCE_S):
                await (await connection.ping(b"x" * 100))


async def test_a_close_frame_frees_the_slot_though_output_is_unread(start_with):
    server = start_with(PATIENT, slots=1, slow_client_s=600)
    with Deaf(server) as deaf:
        await flood(deaf, server)
        deaf.send(CLOSE, struct.pack(">H", 1000))
        await asyncio.to_thread(server.settle)


async def test_sigterm_stops_the_server_though_a_client_does_not_read(start_with):
    server = start_with(PATIENT, slots=1, slow_client_s=600, drain_s=0.5)
    with Deaf(server) as deaf:
        await flood(deaf, server)
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0


async def test_a_second_sigterm_ends_what_still_runs(start_server):
    server = start_server(drain_s=600)
    async with server.talk() as talk:
        await talk.say("run", language="python", code="import time; time.sleep(300)")
        await talk.hear_started()
        server.signal(signal.SIGTERM)
        await asyncio.to_thread(until, lambda: server.status("/readyz") == 503, "draining")
        server.signal(signal.SIGTERM)
        assert (await talk.finish()).reason == "draining"
        assert await asyncio.to_thread(server.wait) == 0


async def test_nothing_about_a_run_comes_after_its_exit(start_server):
    server = start_server(slots=1, slow_client_s=600)
    with Deaf(server) as deaf:
        await flood(deaf, server)
        async with server.talk() as others:
            for number in range(4):
                await others.say("run", id=f"{number}", language="python", code="")
                await others.hear_kind("queued", f"{number}")
            # Its first position, and each one after, waits for a client that does not read.
            deaf.say("run", id="late", language="python", code="")
            waiting = "wsrunner_gate_waiting"
            await asyncio.to_thread(until, lambda: server.metrics()[waiting] == 5, "it waits")
            for number in range(3):
                await others.say("cancel", id=f"{number}")
                await others.finish(f"{number}")
            deaf.say("cancel", id="late")
            await asyncio.to_thread(until, lambda: server.metrics()[waiting] == 1, "it is gone")
            deaf.say("cancel", id="flood")
            heard = await asyncio.to_thread(deaf.read_until_exit, "flood")
    heard = [event["type"] for event in heard if event.get("id") == "late"]
    assert heard[-1] == "exit"
    assert heard.count("exit") == 1


@pytest.mark.parametrize("code", ["import time; time.sleep(1)", "import time; time.sleep(600)"])
async def test_no_drained_comes_after_the_exit(talk, code):
    await talk.say("run", language="python", code=code)
    await talk.hear_started()
    await talk.say("stdin", data="x" * 1_000_000)
    if "600" in code:
        await talk.say("cancel")
    assert (await talk.finish()).exit
    # What came late would be counted to this one, and break its promises.
    outcome = await talk.run("python", "print(1)", stdin="")
    assert [event["type"] for event in outcome.events] == ["started", "stdout", "exit"]


async def test_a_message_of_three_times_the_limit_is_refused_and_the_socket_stays(talk):
    await talk.say_raw('{"type":"' + "x" * (3 * 2**20) + '"}')
    error = await talk.hear_error()
    assert error["code"] == "too_large"
    assert (await talk.run("python", "print(1)")).stdout == "1\n"


async def test_an_error_repeats_little_of_what_was_sent(talk):
    long = "z" * 900_000
    for message in (
        {"type": "run", "language": "python", "code": "", long: 1},
        {"type": long},
        {"type": "run", "language": "python", "code": "", "env": {"A" + long: "\0"}},
        {"type": "run", "language": long, "code": ""},
        {"type": "run", "language": "python", "code": "", "limits": {"memory_mb": 10**400}},
    ):
        await talk.say_raw(json.dumps(message))
        error = await talk.hear_error()
        assert len(json.dumps(error)) < 2000


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**15, 1e300])
async def test_an_absurd_limit_is_out_of_range(talk, value):
    outcome = await talk.run("python", "", limits={"wall_s": value})
    assert outcome.error["code"] in {"limit_out_of_range", "bad_message"}
    assert "internal" not in outcome.error["message"]


async def test_stdin_right_after_a_large_request_has_its_whole_window(start_server):
    server = start_server(message_kb=32 * 1024)
    code = "import sys; print(len(sys.stdin.buffer.read()))"
    files = [
        {"name": "main.py", "content": code},
        {"name": "data", "content": "\0" + "a" * 20_000_000},
    ]
    async with server.talk() as talk:
        for _ in range(3):
            await talk.say("run", language="python", files=files)
            await talk.hear_started()
            await talk.say("stdin", data="b" * 1_000_000)
            await talk.say("eof")
            assert (await talk.finish()).stdout == "1000000\n"


async def test_a_client_that_vanished_is_cut_and_one_that_answers_pings_is_not(start_with):
    server = start_with(
        "wsrunner.serving.port.SILENCE_S = 1",
        "wsrunner.serving.port.PING_EVERY_S = 0.2",
        slow_client_s=0.1,
    )
    async with server.talk() as talk:
        await talk.say("run", language="python", code="input()")
        await talk.hear_started()
        with Deaf(server) as deaf:
            # It reads by now, but answers nothing.
            await asyncio.to_thread(deaf.read_to_the_end)
        await talk.say("stdin", data="\n")
        assert (await talk.finish()).code == 0


async def test_a_plain_run_s_input_beyond_what_all_that_wait_may_keep_is_1013(start_with):
    server = start_with("wsrunner.runs.memory.QUEUE_MAX_BYTES = 10_000", slots=1)
    async with server.talk() as talk:
        await talk.say("run", language="python", code="input()")
        await talk.hear_started()
        async with server.plain("python") as plain:
            await plain.send("print(1)")
            await plain.send("x" * 20_000)
            async with asyncio.timeout(PATIENCE_S):
                await plain.wait_closed()
            assert plain.close_code == 1013
            assert plain.close_reason.startswith("queue_full: ")
        await talk.say("stdin", data="\n")
        assert (await talk.finish()).code == 0


TINY = bytes([0x80 | TEXT, 0x80 | 2]) + b"\0\0\0\0{}"


class Greedy:
    """A socket that always has more frames."""

    wants_turn = True

    def __init__(self, given):
        self.given = given

    def take_turn(self, units):
        self.given.append((self, units))
        return units


async def test_in_one_turn_of_the_loop_sockets_share_what_there_is_to_give():
    given = []
    inlet = Inlet(2**20, Rates())
    crowd = [Greedy(given) for _ in range(10)]
    for greedy in crowd:
        inlet.ask(greedy, now=True)
    for _ in range(10):
        assert sum(units for _, units in given) <= TURN_UNITS
        assert len({taker for taker, _ in given}) == len(given)
        given.clear()
        await asyncio.sleep(0)
    heard = set()
    while len(heard) < len(crowd):
        heard |= {taker for taker, _ in given}
        given.clear()
        await asyncio.sleep(0)


def test_frames_are_given_whole_few_at_a_time_and_no_byte_twice():
    data, at, rest = TINY * 1000, 0, 0
    while at < len(data):
        found = cut(data, at, rest, SHARE_UNITS, Pace(Rates(), 0.0), 0.0)
        assert 0 < found.end - at <= SHARE_UNITS * len(TINY)
        assert found.units <= SHARE_UNITS
        assert found.complete == (found.end == len(data))
        at, rest = found.end, found.rest
    large = bytes([0x82, 0x80 | 127]) + struct.pack(">Q", 1_000_000) + bytes(4) + bytes(1_000_000)
    found = cut(large[:300_000], 0, 0, SHARE_UNITS, Pace(Rates(), 0.0), 0.0)
    assert (found.end, found.rest) == (300_000, len(large) - 300_000)
    assert cut(large[:5], 0, 0, SHARE_UNITS, Pace(Rates(), 0.0), 0.0).end == 0


def test_messages_beyond_the_rate_wait_and_pings_do_not_count_as_messages():
    pace = Pace(Rates(messages_per_s=10), 0.0)
    taken = 0
    while not (wait_s := pace.take(TEXT, 9, 0.0)):
        taken += 1
    assert taken == 50
    assert wait_s > 0
    assert pace.take(PING, 9, 0.0) == 0
    assert pace.take(CLOSE, 9, 0.0) == 0
    assert pace.take(TEXT, 9, wait_s) == 0


def test_bytes_beyond_the_rate_wait_and_a_large_frame_owes_what_is_missing():
    pace = Pace(Rates(bytes_per_s=100), 0.0)
    assert pace.take(TEXT, 499, 0.0) == 0
    assert pace.take(TEXT, 401, 0.0) == 0
    assert pace.take(PING, 9, 0.0) == 0
    assert pace.take(TEXT, 1, 0.0) == pytest.approx(4.01)
    assert pace.take(TEXT, 1, 4.0) == pytest.approx(0.01)
    assert pace.take(TEXT, 1, 4.02) == 0


def test_a_message_that_waits_for_the_rate_in_bytes_is_not_counted_twice():
    pace = Pace(Rates(messages_per_s=1, bytes_per_s=10), 0.0)
    assert pace.take(TEXT, 1000, 0.0) == 0
    for _ in range(10):
        assert pace.take(TEXT, 1, 0.0) > 0
    assert [pace.take(TEXT, 0, 1000.0) for _ in range(5)] == [0] * 5


async def test_what_comes_faster_than_the_rate_in_bytes_arrives_whole_and_late(start_server):
    server = start_server(receive_kb_per_s=100, warm_max=0)
    async with server.talk() as talk:
        await talk.say("run", language="python", code="print(len(input()))")
        await talk.hear_started()
        begin = time.monotonic()
        for _ in range(8):
            await talk.say("stdin", data="x" * 100_000)
        await talk.say("stdin", data="\n")
        assert (await talk.finish()).stdout == "800000\n"
        # Five seconds' worth at once, the frame that exceeds it, and the rest at the rate.
        assert time.monotonic() - begin > 1


async def test_many_small_messages_of_stdin_arrive_whole(talk):
    code = "import sys; print(sum(map(int, sys.stdin)))"
    await talk.say("run", language="python", code=code)
    await talk.hear_started()
    lines = [{"type": "stdin", "data": f"{number}\n"} for number in range(5000)]
    await talk.say_together(*lines, {"type": "eof"})
    assert (await talk.finish()).stdout == f"{sum(range(5000))}\n"


async def test_what_one_read_brings_is_parsed_over_many_turns_of_the_loop(monkeypatch):
    loop = asyncio.get_running_loop()
    turn, parsed, heard = 0, Counter(), asyncio.Queue()

    def tick():
        nonlocal turn, ticking
        turn += 1
        ticking = loop.call_soon(tick)

    class Counted(Connection):
        def process_event(self, event):
            parsed[turn] += 1
            super().process_event(event)

    async def converse(connection):
        async for message in connection:
            heard.put_nowait(message)

    create = partial(Entrance, doorway=Doorway(Inlet(2**30, Rates()), Knocks(0)))
    monkeypatch.setattr("wsrunner.serving.entrance.Connection", Counted)
    ticking = loop.call_soon(tick)
    async with serve(converse, "127.0.0.1", 0, create_connection=create, max_queue=4) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
            client.transport.write(TINY * 5000)
            async with asyncio.timeout(PATIENCE_S):
                for _ in range(5000):
                    await heard.get()
    ticking.cancel()
    # A turn of the inlet may begin within one of the loop.
    assert max(parsed.values()) <= 2 * TURN_UNITS


async def test_the_socket_whose_unfinished_messages_hold_most_is_closed_with_1013(start_server):
    server = start_server(inbox_mb=5, warm_max=0)
    piece = "x" * 1_000_000
    greedy = await connect(f"{server.url}/v1/run", compression=None)
    ended = asyncio.Event()

    async def pieces():
        for _ in range(4):
            yield piece
        await ended.wait()

    sending = asyncio.create_task(greedy.send(pieces()))
    async with server.talk() as talk:
        await talk.say_raw('{"type":"' + piece + '"}')
        assert (await talk.hear_error())["code"] == "bad_message"

        async def more():
            yield piece
            yield piece
            await asyncio.to_thread(until, lambda: greedy.close_code == 1013, "it gives way")
            yield ""

        await talk.connection.send(more())
        assert (await talk.hear_error())["code"] in {"bad_message", "too_large"}
        assert "5242880 bytes" in greedy.close_reason
        assert (await talk.run("python", "print(1)")).stdout == "1\n"
    sending.cancel()


def order_of(**fields):
    catalogue = languages.load()
    present = {catalogue.find("python").image: "sha256:0"}
    job = job_of(RunRequest(language="python", **fields))
    return make_order(job, catalogue=catalogue, settings=Settings(), present=present)


@pytest.mark.parametrize(
    "fields",
    [
        {"code": "", "args": ["\U0001f600" + "a" * 100_000]},
        {"code": "", "env": {"A": "\U0001f600" + "a" * 100_000}},
        {"code": "", "command": "echo \U0001f600" + "a" * 100_000},
    ],
    ids=["args", "env", "command"],
)
def test_all_that_a_waiting_run_keeps_counts_at_its_size_in_memory(fields):
    assert order_of(**fields).size_bytes() >= 400_000


def test_files_and_stdin_of_a_waiting_run_count():
    files = [File(name="main.py", content="x" * 1000)]
    assert order_of(files=files, stdin="y" * 1000).size_bytes() >= 2000
