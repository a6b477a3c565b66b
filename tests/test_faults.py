"""What goes wrong around a run is told as what it is, leaves nothing behind and is over when it is
over. The engine's streams are `test_engine_faults`'s, Redis's faults `gates/`'s and `live/`'s."""

import asyncio
import contextlib
import json
import resource
import secrets
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.serving import SHORT_LEASE_S, docker
from tests.talk import PATIENCE_S
from tests.test_engine_faults import READY_THEN_WAIT, proxy, serving  # noqa: F401  fixtures


def failing(message, status="500 Internal Server Error"):
    body = json.dumps({"message": message})
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("call", ["/containers/create", "/start"])
@pytest.mark.parametrize(
    "reason",
    ["no space left on device", "fork/exec /usr/bin/runc: resource temporarily unavailable"],
)
async def test_what_the_engine_lacks_is_told_counted_and_logged(proxy, serving, call, reason):  # noqa: F811
    proxy.answers = {call: failing(reason)}
    async with serving.talk() as talk:
        refused = await talk.run("python", "print(1)", id="refused")
        assert refused.error["code"] == "engine_unavailable"
        assert reason in refused.error["message"]
        assert refused.error["retry_after_s"] > 0
        proxy.answers = {}
        assert (await talk.run("python", "print(2)", id="after")).stdout == "2\n"
    sample = 'wsrunner_refused_runs_total{code="engine_unavailable"}'
    assert serving.metrics()[sample] == 1
    assert f"could not start a container: {reason}" in serving.log.read_text()


async def test_connections_that_the_engine_resets_are_its_fault_and_not_the_end(proxy, serving):  # noqa: F811
    proxy.reset = "/containers/create"
    async with serving.talk() as talk:
        refused = await talk.run("python", "print(1)", id="refused")
        assert refused.error["code"] == "engine_unavailable"
        proxy.reset = None
        assert (await talk.run("python", "print(2)", id="after")).stdout == "2\n"


async def test_a_slow_engine_is_waited_for(proxy, serving):  # noqa: F811
    proxy.slow_s = 0.3
    async with serving.talk() as talk:
        outcome = await talk.run("python", "print(1)")
        assert (outcome.stdout, outcome.reason) == ("1\n", "exited")


async def test_an_image_that_is_deleted_is_missed_and_found_when_it_is_back(
    start_server, need, tmp_path
):
    tag = f"wsrunner-test/{secrets.token_hex(6)}:gone"
    own = tmp_path / "languages.toml"
    own.write_text(
        f'[language.own]\nname = "Own"\nimage = "{tag}"\nfile = "main.sh"\nrun = "sh main.sh"\n'
    )
    docker("tag", need("bash"), tag)
    try:
        server = start_server(languages=own, warm_max=0)
        async with server.talk() as talk:
            assert (await talk.run("own", "echo 1", id="first")).stdout == "1\n"
            docker("rmi", tag)
            refused = await talk.run("own", "echo 2", id="gone")
            assert refused.error["code"] == "image_missing"
            docker("tag", need("bash"), tag)
            assert await found_again(talk) == "3\n"
        server.settle()
    finally:
        docker("rmi", tag, check=False)


async def found_again(talk):
    """Return the output of the first run that is taken."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            outcome = await talk.run("own", "echo 3", id=secrets.token_hex(4))
            if outcome.error is None:
                return outcome.stdout


async def test_a_container_that_is_paused_ends_at_its_time_limit_and_is_removed(server, talk):
    await talk.say("run", language="python", code=READY_THEN_WAIT, limits={"wall_s": 3})
    await talk.hear_output("ready\n")
    (container,) = server.containers()
    docker("pause", container)
    assert (await talk.finish()).reason == "timeout"
    await asyncio.to_thread(server.settle)


FIRST_TO_GO = """
with open("/proc/1/oom_score_adj", "w") as file:
    file.write("1000")
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("0")
print("ready", flush=True)
with open("full", "wb") as file:
    while True:
        file.write(bytes(1 << 20))
"""
"""Files there are memory, and no process's: the kernel then takes the one that it was told to."""


async def test_the_first_process_killed_for_want_of_memory_is_told_and_leaves_nothing(server, talk):
    # The kernel takes the process that the program names, which is the one that reports.
    outcome = await talk.run("python", FIRST_TO_GO, limits={"memory_mb": 64})
    assert outcome.stdout == "ready\n"
    assert outcome.reason == "out_of_memory"
    # Nobody was left to report what it had used.
    assert (outcome.cpu_ms, outcome.memory_kb) == (None, None)
    await asyncio.to_thread(server.settle)


async def test_half_a_handshake_is_told_to_hurry_and_ends(server):
    def begin():
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
            raw.sendall(b"GET /v1/run HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n")
            return b"".join(iter(lambda: raw.recv(4096), b""))

    answer = await asyncio.to_thread(begin)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"timeout"' in answer


LEAPING_CLOCK = (
    "import itertools, time",
    "wall, readings = time.time, itertools.count()",
    "time.time = lambda: wall() + next(readings) % 3 * 50_000_000",
    "import wsrunner.serving.server",
    "wsrunner.serving.server.SWEEP_EVERY_S = 0.1",
)
"""Stepped by more than a year, forth and back, at each reading; leftovers are looked for often."""


async def test_a_clock_that_is_stepped_ends_no_run_and_holds_none_up(start_with, shared_server):
    server = start_with(*LEAPING_CLOCK, warm="python=1")
    async with server.talk() as talk, shared_server.talk() as neighbour:
        await neighbour.say("run", language="bash", code="echo ready; read x; echo got $x")
        await neighbour.hear_output("ready")
        code = "import time\nprint('ready')\ntime.sleep(2)\nprint(input())"
        await talk.say("run", language="python", code=code)
        await talk.hear_output("ready\n")
        await talk.say("stdin", data="still there\n")
        outcome = await talk.finish()
        assert (outcome.reason, outcome.stdout) == ("exited", "ready\nstill there\n")
        assert 2000 <= outcome.wall_ms < 1000 * PATIENCE_S
        timed = await talk.run("python", READY_THEN_WAIT, id="b", limits={"wall_s": 1})
        assert timed.reason == "timeout"
        # By that clock, another server's container is years old.
        await neighbour.say("stdin", data="it\n")
        assert (await neighbour.finish()).stdout == "ready\ngot it\n"
    server.settle()
    shared_server.settle()


async def test_a_server_that_stood_still_longer_than_its_lease_loses_its_runs(replicas):
    still, other = replicas(2, lease_s=SHORT_LEASE_S)
    async with still.talk() as first, other.talk() as second:
        await first.say("run", language="python", code=READY_THEN_WAIT)
        await first.hear_output("ready\n")
        await second.say("run", language="python", code="print('mine')")
        await second.hear_kind("queued")
        still.signal(signal.SIGSTOP)
        try:
            # The slot is free for others, though nobody has given it back.
            assert (await second.finish()).stdout == "mine\n"
        finally:
            still.signal(signal.SIGCONT)
        assert (await first.finish()).reason == "lease_lost"
    for server in (still, other):
        await asyncio.to_thread(server.settle)


async def test_a_server_without_descriptors_says_so_and_recovers(start_server):
    server = start_server(slots=8, warm_max=0)
    host, port = server.address.split(":")
    async with server.talk() as talk:
        # Nothing can be opened any more.
        taken = {int(entry.name) for entry in Path(f"/proc/{server.pid}/fd").iterdir()}
        used = min(set(range(len(taken) + 1)) - taken)
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
        names = [f"n{number}" for number in range(8)]
        for name in names:
            await talk.say("run", id=name, language="python", code="print(1)")
        outcomes = [await talk.finish(name) for name in names]
        # A few find connections that the engine has open already.
        refused = [outcome.error for outcome in outcomes if outcome.error]
        assert {error["code"] for error in refused} == {"engine_unavailable"}
        assert {outcome.stdout for outcome in outcomes if not outcome.error} <= {"1\n"}
        # Not even a connection can be taken; whoever is there already is served all the same.
        with socket.create_connection((host, int(port))):
            await talk.say("signal", id="nobody", signal="SIGTERM")
            assert (await talk.hear_error_of("nobody"))["code"] == "no_such_run"
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        assert (await talk.run("python", "print(2)", id="after")).stdout == "2\n"
    server.settle()


async def test_a_thousand_cancels_are_one(talk):
    await talk.say("run", language="python", code=READY_THEN_WAIT)
    await talk.hear_output("ready\n")
    for _ in range(1000):
        await talk.say("cancel")
    outcome = await talk.finish()
    assert outcome.reason == "cancelled"
    await talk.say("run", id="after", language="python", code="print(1)")
    assert (await talk.finish("after")).stdout == "1\n"


def frame(opcode, payload=b"", *, fin):
    """Return a client's frame (RFC 6455 section 5.2), masked with zeros."""
    return struct.pack(">BB4x", (0x80 if fin else 0) | opcode, 0x80 | len(payload)) + payload


def open_raw(server):
    """Open a WebSocket by hand; returns its TCP connection."""
    host, port = server.address.split(":")
    raw = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    raw.sendall(
        b"GET /v1/run HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b" 101 " in raw.recv(4096)
    return raw


async def test_endless_fragments_take_no_memory(server):
    enough = threading.Event()

    def flood():
        with open_raw(server) as raw:
            raw.sendall(frame(1, b"{", fin=False))
            pieces = frame(0, b"", fin=False) * 1000
            raw.settimeout(0.1)
            while not enough.is_set():
                with contextlib.suppress(TimeoutError):
                    raw.send(pieces)

    before_kb = server.resident_kb()
    flooding = asyncio.create_task(asyncio.to_thread(flood))
    async with server.talk() as talk:
        for name in "abcd":
            assert (await talk.run("python", "print(1)", id=name)).stdout == "1\n"
    enough.set()
    await flooding
    assert server.resident_kb() - before_kb < 32 * 1024


async def test_a_byte_at_a_time_is_a_message_in_the_end(server):
    def trickle():
        with open_raw(server) as raw:
            for byte in frame(1, b'{"type":"cancel","id":"none"}', fin=True):
                raw.sendall(bytes([byte]))
                time.sleep(0.01)
            return raw.recv(4096)

    assert b"no_such_run" in await asyncio.to_thread(trickle)
