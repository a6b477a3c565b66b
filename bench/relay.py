"""How fast output gets from a program to clients, against `docker attach` into nothing.

Two baselines run the same program in a container of the same configuration: `docker attach` with
its stdout in /dev/null, and less than that, a reader of the attach stream that doesn't look at it.
All are timed from the request to the program's report. Then: 50 clients at once; one that does not
read, beside one that does; and the server's memory while a long stream goes through it.
"""

from __future__ import annotations

import contextlib
import selectors
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench import kit
from bench.kit import Figure
from wsrunner.units import KIB, MIB

NAME = "relay"
HELP = "lines and bytes a second to one client and to 50, and the server's memory meanwhile"

BLOCKS = """import os
line = b"x" * {line_bytes} + b"\\n"
block = line * max(1, 65536 // len(line))
for _ in range({lines} * len(line) // len(block)):
    os.write(1, block)
"""
PRINTS = """for number in range({lines}):
    print("{text}")
"""
LIMITS = {"output_kb": 2**30, "wall_s": 600, "cpu_s": 600}
CLIENTS = 50
FLAT_BYTES = 10 * MIB


class Writer(NamedTuple):
    """A program that prints.

    Attributes:
        name: What it is.
        line_bytes: Of each line, its end included.
        lines: How many, in a full measurement.
        buffered: Whether it writes 64 KiB at once, or each line on its own.
        least: The target for its ratio.
    """

    name: str
    line_bytes: int
    lines: int
    buffered: bool
    least: float | None

    def code(self, lines: int) -> str:
        if self.buffered:
            return BLOCKS.format(line_bytes=self.line_bytes - 1, lines=lines)
        return PRINTS.format(text="x" * (self.line_bytes - 1), lines=lines)

    def printed_lines(self, lines: int) -> int:
        """Return how many lines `code` really prints: whole blocks."""
        per_block = max(1, 65536 // self.line_bytes)
        return lines // per_block * per_block if self.buffered else lines


WRITERS = (
    Writer("short lines, buffered", 10, 8_000_000, buffered=True, least=0.8),
    Writer("long lines, buffered", 1000, 120_000, buffered=True, least=0.8),
    Writer("short lines, unbuffered", 10, 250_000, buffered=False, least=0.8),
    Writer("long lines, unbuffered", 1000, 60_000, buffered=False, least=None),
)


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module."""
    del out
    share = 0.25 if quick else 1.0
    rounds = runs or (3 if quick else 7)
    engine = kit.RawEngine()
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    with kit.Server(**LIMITS, slots=CLIENTS + 2, warm="python=1", slow_client_s=300) as server:
        for writer in WRITERS:
            lines = round(writer.lines * share)
            found, raw[writer.name] = _to_one(server, engine, writer, lines, rounds)
            figures += found
        figures += _to_many(server, WRITERS[0], round(WRITERS[0].lines * share / 10))
        found, raw["beside a slow client"] = _beside_slow(server, engine, rounds, share)
        figures += found
    figures += _memory_of_slow(engine)
    figures += _memory(round(KIB * MIB * (0.1 if quick else 1)))
    return kit.result(figures, **raw)


def _to_one(
    server: kit.Server, engine: kit.RawEngine, writer: Writer, lines: int, rounds: int
) -> tuple[list[Figure], dict[str, Any]]:
    printed = writer.printed_lines(lines)
    code = writer.code(lines)
    order = engine.order(language="python", code=code)
    rates: list[float] = []
    raw_rates: list[float] = []
    command_rates: list[float] = []
    cpu: list[float] = []

    def take() -> None:
        server.settle(engine, order.box.image, 1)
        with kit.Socket(server.port) as client:
            before_s = _cpu_s(server)
            rates.append(printed / _stream(client, code, printed * writer.line_bytes))
            cpu.append((_cpu_s(server) - before_s) / (printed / rates[-1]))

    def take_raw() -> None:
        container = engine.start(order.box)
        try:
            # As a warm one: it waits for its request by now.
            time.sleep(0.1)
            begun_s = time.perf_counter()
            total = container.drain(container.write(order))
            raw_rates.append(printed / (time.perf_counter() - begun_s))
            if total < printed * writer.line_bytes:
                raise RuntimeError(f"{total} bytes of {printed * writer.line_bytes} came")
        finally:
            container.remove()

    def take_command() -> None:
        command_rates.append(printed / engine.time_attach_command(order))

    takers = [take, take_raw]
    if shutil.which("docker"):
        takers.append(take_command)
    kit.interleave(rounds, *takers, say=writer.name)
    name = f"one client, {writer.name}"
    # The target's is the first that there is.
    bases = {
        base: values
        for base, values in {"docker attach": command_rates, "raw attach": raw_rates}.items()
        if values
    }
    note = (
        f"{kit.number(statistics.median(rates) * writer.line_bytes / 1e6)} MB/s, "
        f"server at {statistics.median(cpu):.0%} of a core"
    )
    figures = [
        kit.compare(
            name,
            "lines/s",
            rates,
            base,
            values,
            least=None if number else writer.least,
            note=note,
        )
        for number, (base, values) in enumerate(bases.items())
    ]
    if writer is WRITERS[0]:
        figures.append(Figure(name, "lines/s", statistics.median(rates), least=1_000_000))
    return figures, {
        "lines_per_s": rates,
        "raw_lines_per_s": raw_rates,
        "command_lines_per_s": command_rates,
    }


def _cpu_s(server: kit.Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _stream(client: kit.Socket, code: str, expected_bytes: int) -> float:
    """Run a program and take its messages without decoding them; return the seconds it took."""
    begun_s = time.perf_counter()
    client.send(type="run", language="python", code=code)
    _check(client.skim(), expected_bytes)
    return time.perf_counter() - begun_s


def _check(message: bytes, expected_bytes: int) -> None:
    if b'"reason":"exited","code":0' not in message or (
        b'"output_bytes":%d,' % expected_bytes not in message
    ):
        raise RuntimeError(f"not {expected_bytes} bytes and exit 0: {message.decode()}")


def _to_many(server: kit.Server, writer: Writer, lines: int) -> list[Figure]:
    """Let 50 clients stream at once: what arrives at all of them together."""
    printed = writer.printed_lines(lines)
    # Nobody prints before all can.
    code = "input()\n" + writer.code(lines)
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        clients = [stack.enter_context(kit.Socket(server.port)) for _ in range(CLIENTS)]
        for client in clients:
            client.send(type="run", language="python", code=code)
            while b'"stage":"run"' not in client.receive():
                pass
        begun_s = time.perf_counter()
        for client in clients:
            client.send(type="stdin", data="\n")
            selector.register(client, selectors.EVENT_READ)
        ends: list[float] = []
        while len(ends) < CLIENTS:
            for key, _ in selector.select():
                client = key.fileobj
                assert isinstance(client, kit.Socket)
                client.pump()
                while (message := client.pop()) is not None:
                    if message.startswith((b'{"type":"exit"', b'{"type":"error"')):
                        _check(message, printed * writer.line_bytes)
                        ends.append(time.perf_counter() - begun_s)
                        selector.unregister(client)
    total = printed * CLIENTS / ends[-1]
    return [
        Figure(
            f"{CLIENTS} clients, {writer.name}, together",
            "lines/s",
            total,
            note=f"{kit.number(total * writer.line_bytes / 1e6)} MB/s; "
            f"first done after {ends[0]:.1f} s, last after {ends[-1]:.1f} s",
        )
    ]


def _beside_slow(
    server: kit.Server, engine: kit.RawEngine, rounds: int, share: float
) -> tuple[list[Figure], dict[str, Any]]:
    """Stream to one client with and without another that has stopped to read a flood."""
    writer = WRITERS[0]
    lines = round(writer.lines * share / 2)
    printed = writer.printed_lines(lines)
    expected = printed * writer.line_bytes
    alone: list[float] = []
    beside: list[float] = []
    image = engine.order(language="python", code="").box.image

    def take_alone() -> None:
        server.settle(engine, image, 1)
        with kit.Socket(server.port) as client:
            alone.append(printed / _stream(client, writer.code(lines), expected))

    def take_beside() -> None:
        with kit.Socket(server.port, receive_buffer_bytes=64 * KIB) as slow:
            server.settle(engine, image, 1)
            _flood(slow)
            with kit.Socket(server.port) as client:
                beside.append(printed / _stream(client, writer.code(lines), expected))

    kit.interleave(rounds, take_alone, take_beside, say="beside a slow client")
    figures = [
        kit.compare(
            "one client beside one that does not read", "lines/s", beside, "alone", alone, least=0.9
        ),
    ]
    return figures, {"alone": alone, "beside": beside}


def _flood(slow: kit.Socket) -> None:
    """Have a program print until all buffers on the way to a client that does not read are full."""
    slow.send(type="run", language="python", code=WRITERS[0].code(10**9))
    slow.receive()
    time.sleep(0.7)


def _memory_of_slow(engine: kit.RawEngine) -> list[Figure]:
    """Let a client of a fresh server stop reading, and see what the server keeps for it."""
    order = engine.order(language="python", code="print(1)")
    with kit.Server(**LIMITS, warm="python=1", slow_client_s=300) as server:
        # What the first run of a process costs is no client's.
        with kit.Socket(server.port) as first:
            first.run(language="python", code="print(1)")
        server.settle(engine, order.box.image, 1)
        with kit.Socket(server.port, receive_buffer_bytes=64 * KIB) as slow:
            server.forget_peak()
            before = server.memory_bytes()
            _flood(slow)
            grown = (server.peak_bytes() - before) / MIB
    return [Figure("server memory for a client that does not read", "MiB", grown, note="peak")]


def _memory(stream_bytes: int) -> list[Figure]:
    """Send a long stream through a fresh server and watch its memory."""
    writer = WRITERS[0]
    lines = stream_bytes // writer.line_bytes
    samples: list[float] = []
    with kit.Server(**LIMITS, warm="python=1") as server, kit.Socket(server.port) as client:
        while not server.spares():
            time.sleep(0.05)
        idle = server.memory_bytes() / MIB
        with _sampling(server, samples):
            took_s = _stream(client, writer.code(lines), writer.printed_lines(lines) * 10)
    # The first tenth fills the buffers.
    steady = samples[len(samples) // 10 :]
    return [
        Figure(
            f"server memory while {stream_bytes / MIB:,.0f} MiB stream through it, max - min",
            "MiB",
            max(steady) - min(steady),
            most=FLAT_BYTES / MIB,
            note=f"idle {idle:.0f} MiB, at most {max(samples):.0f}; {took_s:.0f} s",
        )
    ]


@contextlib.contextmanager
def _sampling(server: kit.Server, samples: list[float]) -> Iterator[None]:
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.05):
            samples.append(server.memory_bytes() / MIB)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
