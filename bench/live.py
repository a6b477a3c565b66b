"""What it costs that a run outlives its socket, is watched by many, and tells that it waits.

Every pair is taken in turns. Lags are from the clock that the program printed to the one of this
process (CLOCK_MONOTONIC, which containers share), reading 1,000 sockets included.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from bench import kit
from bench.gate import redis_server
from bench.kit import Figure
from wsrunner.units import KIB, MIB

NAME = "live"
HELP = "journals, Redis, reattaching elsewhere, crowds of viewers, programs that wait for input"
MS = 1e3
HELLO = {"language": "python", "code": "print('hello')"}
KEPT = {"keep_s": 60}
BLOCKS = """import os
block = (b"x" * 9 + b"\\n") * 6553
for _ in range({before}): os.write(1, block)
input()
for _ in range({blocks}): os.write(1, block)
"""
BLOCK_BYTES = 65530
CLOCK = """import time
input()
begin = time.monotonic()
for number in range({lines}):
    pause = begin + number / 1000 - time.monotonic()
    if pause > 0: time.sleep(pause)
    print(f"@{{time.monotonic():.6f}}", flush=True)
"""
PAUSES = """import time
for number in range({rounds}):
    time.sleep(0.2)
    print(f"@{{time.monotonic():.6f}}", end=" ", flush=True)
    input()
"""
WORK = """
total = 0
for number in range({turns}): total += number * number
"""
VIEWERS = 1000
STALLED = 500
STALL_BLOCKS = 100
SAMPLED = 20
LIMITS = {"output_kb": 2**30, "wall_s": 600, "cpu_s": 600, "slow_client_s": 300}


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module. `runs` is the number of rounds."""
    del out
    rounds = runs or (20 if quick else 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8192, hard)), hard))
    engine = kit.RawEngine()
    options = LIMITS | {"slots": 4, "viewers_max": VIEWERS + 10, "warm": "python=1"}
    with kit.Server(**options) as server:
        figures = [
            _first_line(server, engine, rounds),
            _in_memory(server, max(3, rounds // 10), 100 if quick else 400),
            *_waiting(server, max(10, rounds // 4)),
            *_crowd(server, 4000 if quick else 10_000),
            _stalled(server, max(3, rounds // 20), 50 if quick else 100),
        ]
    with (
        redis_server() as port,
        kit.Server(**options, redis_url=f"redis://127.0.0.1:{port}/0") as one,
        kit.Server(**options, redis_url=f"redis://127.0.0.1:{port}/0") as two,
    ):
        figures.append(_through_redis(one, two, port, max(3, rounds // 10), 100 if quick else 400))
        figures += _reattach(one, two, port, rounds)
    return kit.result(figures)


def _first_line(server: kit.Server, engine: kit.RawEngine, rounds: int) -> Figure:
    image = engine.order(**HELLO).box.image
    with kit.Socket(server.port) as client:

        def settled(**fields: Any) -> Callable[[], kit.Timing]:
            def take() -> kit.Timing:
                server.settle(engine, image, 1)
                return client.run(**HELLO, **fields)

            return take

        ways = {"plain": settled(), "kept": settled(**KEPT)}
        found = kit.take_in_turns(rounds, ways, say="first line")
    times = {name: [each.first_s * MS for each in series] for name, series in found.items()}
    return kit.compare(
        "first line, kept", "ms", times["kept"], "not kept", times["plain"], most=1.05
    )


def _begin(client: kit.Socket, code: str, **fields: Any) -> dict[str, Any]:
    """Start a program, and wait until it reads; return its `accepted`, if it is kept."""
    client.send(type="run", language="python", code=code, waiting=True, **fields)
    return _until_waiting(client)


def _until_waiting(client: kit.Socket) -> dict[str, Any]:
    accepted: dict[str, Any] = {}
    while True:
        message = client.receive()
        if message.startswith(b'{"type":"stdout"'):
            continue
        event = json.loads(message)
        if event["type"] == "accepted":
            accepted = event
        elif event["type"] == "waiting":
            return accepted
        elif event["type"] in {"error", "exit"}:
            raise RuntimeError(f"the run failed: {event}")


def _attach(client: kit.Socket, accepted: dict[str, Any], role: str, after: int = 0) -> None:
    client.send(type="attach", run=accepted["run"], key=accepted[role], after=after)


def _rate(client: kit.Socket, blocks: int) -> float:
    """Return bytes a second, from the input that a program waits for to its exit."""
    begun_s = time.perf_counter()
    client.send(type="stdin", data="\n")
    event = json.loads(client.skim())
    if event.get("code") != 0:
        raise RuntimeError(f"the run failed: {event}")
    return blocks * BLOCK_BYTES / (time.perf_counter() - begun_s)


def _in_memory(server: kit.Server, rounds: int, blocks: int) -> Figure:
    rates: dict[str, list[float]] = {"kept": [], "plain": []}

    def take(name: str, fields: dict[str, Any]) -> Callable[[], None]:
        def taker() -> None:
            with kit.Socket(server.port) as client:
                _begin(client, BLOCKS.format(before=0, blocks=blocks), **fields)
                rates[name].append(_rate(client, blocks) / MIB)

        return taker

    kit.interleave(rounds, take("kept", KEPT), take("plain", {}), say="relay")
    return kit.compare(
        "relay with a journal in memory",
        "MiB/s",
        rates["kept"],
        "without",
        rates["plain"],
        least=0.9,
    )


def _through_redis(one: kit.Server, two: kit.Server, port: int, rounds: int, blocks: int) -> Figure:
    """Relay a run to a driver of another replica, against adding as much to a bounded stream."""
    rates: list[float] = []
    added: list[float] = []

    def take() -> None:
        with kit.Socket(one.port) as first, kit.Socket(two.port) as second:
            accepted = _begin(first, BLOCKS.format(before=0, blocks=blocks), **KEPT)
            _attach(second, accepted, "drive")
            while json.loads(second.receive())["type"] != "waiting":
                pass
            first.send(type="detach")
            rates.append(_rate(second, blocks) / MIB)

    def add() -> None:
        client = redis.Redis(port=port)
        data = b"x" * 32 * KIB
        count = blocks * BLOCK_BYTES // len(data)
        begun_s = time.perf_counter()
        for _ in range(0, count, 8):
            pipe = client.pipeline(transaction=False)
            for _ in range(8):
                pipe.xadd("bench", {"e": data}, maxlen=32, approximate=True)
            pipe.execute()
        added.append(count * len(data) / (time.perf_counter() - begun_s) / MIB)
        client.close()

    kit.interleave(rounds, take, add, say="Redis")
    return kit.compare(
        "relay to a driver of another replica", "MiB/s", rates, "XADD", added, least=0.5
    )


def _reattach(one: kit.Server, two: kit.Server, port: int, rounds: int) -> list[Figure]:
    """From `attach` on another replica to the first message that was missed."""
    client = redis.Redis(port=port)
    times: list[float] = []
    pings: list[float] = []
    with kit.Socket(one.port) as first:
        accepted = _begin(first, "print('x\\n' * 1000)\ninput()", **KEPT)
        for _ in range(rounds):
            begun_s = time.perf_counter()
            client.ping()
            pings.append((time.perf_counter() - begun_s) * MS)
            with kit.Socket(two.port) as second:
                begun_s = time.perf_counter()
                _attach(second, accepted, "drive", after=1)
                while not second.receive().startswith(b'{"type":"stdout"'):
                    pass
                times.append((time.perf_counter() - begun_s) * MS)
        first.send(type="cancel")
    p99 = kit.quantile(sorted(times), 0.99)
    ping = statistics.median(pings)
    return [
        kit.compare("reattach on another replica, median", "ms", times),
        Figure(
            "reattach on another replica, p99",
            "ms",
            p99,
            baseline="PING",
            baseline_value=ping,
            most=max(50.0, 20 * ping),
        ),
    ]


@contextlib.contextmanager
def _viewers(
    server: kit.Server, accepted: dict[str, Any], count: int, **options: Any
) -> Iterator[list[kit.Socket]]:
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(count):
            viewer = stack.enter_context(kit.Socket(server.port, **options))
            _attach(viewer, accepted, "view")
            assert b'"attached"' in viewer.receive()
            crowd.append(viewer)
        yield crowd


def _crowd(server: kit.Server, lines: int) -> list[Figure]:
    with kit.Socket(server.port) as driver:
        accepted = _begin(driver, CLOCK.format(lines=lines), **KEPT)
        before_bytes = server.memory_bytes()
        with _viewers(server, accepted, VIEWERS) as crowd:
            each_kib = (server.memory_bytes() - before_bytes) / VIEWERS / KIB
            driver.send(type="stdin", data="\n")
            lags = _lags(driver, crowd)
    return [
        Figure(
            f"lag of {VIEWERS} viewers at 1,000 lines/s, p99",
            "ms",
            kit.quantile(sorted(lags), 0.99),
            (min(lags), max(lags)),
            most=100.0,
            note=f"of the oldest line of each message, {SAMPLED} viewers",
        ),
        Figure("memory a viewer", "KiB", each_kib, most=32.0),
    ]


def _lags(driver: kit.Socket, crowd: Sequence[kit.Socket]) -> list[float]:
    """Read everybody until the driver's exit; return the lags of some, in ms."""
    lags: list[float] = []
    with selectors.DefaultSelector() as selector:
        for number, each in enumerate((driver, *crowd)):
            selector.register(each, selectors.EVENT_READ, number)
        while True:
            for key, _ in selector.select():
                client: kit.Socket = key.fileobj  # type: ignore[assignment]
                if 0 < key.data <= VIEWERS - SAMPLED:
                    client.drop()
                    continue
                client.pump()
                while (message := client.pop()) is not None:
                    at = message.find(b"@")
                    if key.data and at > 0:
                        printed_s = float(message[at + 1 :].split(b"\\n", 1)[0])
                        lags.append((time.monotonic() - printed_s) * MS)
                    elif message.startswith(b'{"type":"exit"') and not key.data:
                        return lags


def _stalled(server: kit.Server, rounds: int, blocks: int) -> Figure:
    """The driver's rate beside viewers that read nothing, against that without."""
    rates: dict[int, list[float]] = {STALLED: [], 0: []}

    def take(count: int) -> Callable[[], None]:
        def taker() -> None:
            with kit.Socket(server.port) as driver:
                code = f"input()\n{BLOCKS}".format(before=STALL_BLOCKS, blocks=blocks)
                accepted = _begin(driver, code, **KEPT)
                with _viewers(server, accepted, count, receive_buffer_bytes=4096):
                    # Until what the kernel keeps for them is full, they take as much as anybody.
                    driver.send(type="stdin", data="\n")
                    _until_waiting(driver)
                    rates[count].append(_rate(driver, blocks) / MIB)

        return taker

    kit.interleave(rounds, take(STALLED), take(0), say="stalled")
    return kit.compare(
        f"relay beside {STALLED} stalled viewers",
        "MiB/s",
        rates[STALLED],
        "alone",
        rates[0],
        least=0.95,
    )


def _waiting(server: kit.Server, rounds: int) -> list[Figure]:
    lags: list[float] = []
    cpu: dict[bool, list[float]] = {True: [], False: []}
    with kit.Socket(server.port) as client:
        code = PAUSES.format(rounds=rounds)
        client.send(type="run", language="python", code=code, waiting=True)
        printed_s = 0.0
        while (event := json.loads(client.receive()))["type"] != "exit":
            if event["type"] == "stdout" and "@" in event["data"]:
                printed_s = float(event["data"].strip(" @"))
            elif event["type"] == "waiting":
                lags.append((time.monotonic() - printed_s) * MS)
                client.send(type="stdin", data="\n")

        def busy(*, waiting: bool) -> Callable[[], None]:
            def taker() -> None:
                code = WORK.format(turns=20_000_000)
                client.send(type="run", language="python", code=code, waiting=waiting)
                cpu[waiting].append(json.loads(client.skim())["cpu_ms"])

            return taker

        kit.interleave(max(3, rounds // 4), busy(waiting=True), busy(waiting=False), say="busy")
    return [
        kit.compare("`waiting`, told after, median", "ms", lags),
        Figure(
            "`waiting`, told after, p99",
            "ms",
            kit.quantile(sorted(lags), 0.99),
            (min(lags), max(lags)),
            most=50.0,
        ),
        kit.compare(
            "CPU of a busy program that is looked at",
            "ms",
            cpu[True],
            "not looked at",
            cpu[False],
            most=1.01,
        ),
    ]
