"""What ten clients that send as fast as they can cost everybody else.

A process of its own sends frames of 8 bytes on ten sockets without a pause, and reads what is
answered. Beside it a probe takes turns: a message on a socket of its own that is answered at once
(with an error, which takes no container), and a GET of /healthz on a new connection.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import selectors
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from bench import kit
from bench.kit import Figure
from wsrunner.units import MIB

NAME = "floods"
HELP = "another client's answers beside ten floods of tiny messages, or of pings"

FLOODS = 10
DELAY_MOST_MS = 50.0
PROBE_EVERY_S = 0.02
BLOCK = 10_000
MS = 1e3
# Masked with zeros (RFC 6455 section 5.2).
FRAMES = {"messages": b"\x81\x82\0\0\0\0{}", "pings": b"\x89\x80\0\0\0\0"}


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module. `runs` is the number of probes of each kind."""
    del out
    count = runs or (50 if quick else 500)
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    with kit.Server(warm="") as server, kit.Socket(server.port) as probe:
        for kind in ("none", *FRAMES):
            kit.progress(f"floods: {kind}")
            with _floods(server.port, kind):
                raw[kind] = _probe(server, probe, count)
            beside = "beside nothing" if kind == "none" else f"beside {FLOODS} floods of {kind}"
            for what, delays in raw[kind].items():
                facts = kit.summary(delays)
                figures.append(
                    Figure(
                        f"{what} {beside}, p99",
                        "ms",
                        facts["p99"],
                        most=None if kind == "none" else DELAY_MOST_MS,
                        note=f"median {kit.number(facts['median'])}, "
                        f"max {kit.number(facts['max'])}",
                    )
                )
    kit.progress("")
    return kit.result(figures, delays_ms=raw)


def _probe(server: kit.Server, probe: kit.Socket, count: int) -> dict[str, list[float]]:
    """Return milliseconds until the answer, by what was asked."""
    found: dict[str, list[float]] = {"an answer": [], "a new GET": []}
    for _ in range(count):
        begun_s = time.perf_counter()
        probe.send()
        probe.receive()
        found["an answer"].append((time.perf_counter() - begun_s) * MS)
        begun_s = time.perf_counter()
        server.get("/healthz")
        found["a new GET"].append((time.perf_counter() - begun_s) * MS)
        time.sleep(PROBE_EVERY_S)
    return found


@contextlib.contextmanager
def _floods(port: int, kind: str) -> Iterator[None]:
    """Flood for the length of the block, which begins once all sockets do."""
    if kind == "none":
        yield
        return
    context = multiprocessing.get_context("spawn")
    begun, ended = context.Event(), context.Event()
    process = context.Process(target=_flood, args=(port, FRAMES[kind], begun, ended))
    process.start()
    try:
        if not begun.wait(30):
            raise RuntimeError("the floods did not begin within 30 s")
        # The first seconds are the worst: each client may still be ahead of its rate.
        yield
        if process.exitcode is not None:
            raise RuntimeError("the floods ended early")
    finally:
        ended.set()
        process.join(30)


def _flood(port: int, frame: bytes, begun: Event, ended: Event) -> None:
    """Send frames on all sockets whenever they take some, and read what comes."""
    block = memoryview(frame * BLOCK)
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(FLOODS):
            client = stack.enter_context(kit.Socket(port))._socket  # noqa: SLF001
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, [0])
        begun.set()
        while not ended.is_set():
            for key, events in selector.select(0.1):
                at, client = key.data, key.fileobj
                with contextlib.suppress(BlockingIOError):
                    if events & selectors.EVENT_READ and not client.recv(MIB):  # type: ignore[union-attr]
                        raise ConnectionError("the server closed a flood's socket")
                    if events & selectors.EVENT_WRITE:
                        sent = client.send(block[at[0] :])  # type: ignore[union-attr]
                        at[0] = (at[0] + sent) % len(block)
