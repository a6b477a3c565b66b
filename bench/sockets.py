"""What a waiting client costs: memory of the server, delay of its event loop, and of runs admitted.

One slot, taken by a program that sleeps. Clients connect and each asks for a run, so all wait in
the queue. Their memory is the growth of the server's resident memory; the loop's delay is the time
that a pong takes on a socket of its own. Then the sleeper ends and the queue moves, so that
positions are sent and runs start, one after the other, while the rest wait.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import time
from pathlib import Path
from typing import Any

from bench import kit
from bench.kit import Figure
from wsrunner.units import KIB

NAME = "sockets"
HELP = "memory and loop delay at 100, 1,000 and 10,000 waiting clients"

SIZES = (100, 1_000, 10_000)
SLEEPER = "import time\ntime.sleep(600)"
HELLO = 'print("hello")'
PING_EVERY_S = 0.02
MEMORY_MOST_KIB = 20.0
DELAY_MOST_MS = 50.0
MS = 1e3


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module. `runs` is the number of admitted runs to wait for."""
    del out
    _raise_file_limit()
    sizes = SIZES[:2] if quick else SIZES
    admitted = runs or (5 if quick else 25)
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    base: list[float] = []
    for size in sizes:
        kit.progress(f"{size} clients")
        found = _at(size, admitted, 1.0 if quick else 4.0)
        raw[str(size)] = found
        base = base or found["line_ms"]
        waiting, moving = kit.summary(found["calm_ms"]), kit.summary(found["moving_ms"])
        figures += [
            Figure(
                f"{size:,} waiting clients, memory of each",
                "KiB",
                found["waiting_kib"],
                most=MEMORY_MOST_KIB if size >= 1000 else None,
                note=f"connected only: {found['connected_kib']:.1f}",
            ),
            Figure(
                f"{size:,} waiting clients, loop delay p99",
                "ms",
                waiting["p99"],
                most=DELAY_MOST_MS,
                note=f"p50 {kit.number(waiting['median'])}",
            ),
            Figure(
                f"{size:,} waiting clients, loop delay p99 while the queue moves",
                "ms",
                moving["p99"],
                most=DELAY_MOST_MS,
                note=f"p50 {kit.number(moving['median'])}, max {kit.number(moving['max'])}",
            ),
            Figure(
                f"{size:,} waiting clients, started → first line of runs admitted meanwhile",
                "ms",
                kit.summary(found["line_ms"])["median"],
                None,
                f"at {sizes[0]}",
                kit.summary(base)["median"],
                kit.summary(found["line_ms"])["median"] / kit.summary(base)["median"],
            ),
            Figure(
                f"{size:,} clients connect and ask",
                "per s",
                size / (found["connect_s"] + found["ask_s"]),
            ),
        ]
    kit.progress("")
    return kit.result(figures, clients=raw)


def _raise_file_limit() -> None:
    """Let this process, and the server it starts, open a socket for each client."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < max(SIZES) + 200:
        raise RuntimeError(f"{hard} open files are allowed; the bench needs {max(SIZES) + 200}")


def _at(size: int, admitted: int, seconds: float) -> dict[str, Any]:
    options = {"slots": 1, "queue_max": size + 10, "wall_s": 600, "warm": "python=1"}
    with kit.Server(**options) as server, contextlib.ExitStack() as stack:
        sleeper = stack.enter_context(kit.Socket(server.port))
        sleeper.send(type="run", language="python", code=SLEEPER)
        while b'"started"' not in sleeper.receive():
            pass
        probe = stack.enter_context(kit.Socket(server.port))
        selector = stack.enter_context(selectors.DefaultSelector())
        crowd = _Crowd(selector, probe)
        selector.register(sleeper, selectors.EVENT_READ)
        crowd.listen(1.0)
        before = server.memory_bytes()
        begun_s = time.perf_counter()
        clients = [stack.enter_context(kit.Socket(server.port)) for _ in range(size)]
        connect_s = time.perf_counter() - begun_s
        connected = server.memory_bytes()
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        begun_s = time.perf_counter()
        for index, client in enumerate(clients):
            client.send(type="run", language="python", code=HELLO)
            if index % 100 == 0:
                crowd.listen(0.0)
        while crowd.queued < size:
            crowd.listen(0.02)
        ask_s = time.perf_counter() - begun_s
        crowd.listen(1.0)
        waiting = server.memory_bytes()
        calm = crowd.listen(seconds)
        sleeper.send(type="cancel")
        crowd.line_ms.clear()
        moving = crowd.listen(seconds, until_lines=admitted)
        return {
            "connected_kib": (connected - before) / size / KIB,
            "waiting_kib": (waiting - before) / size / KIB,
            "connect_s": connect_s,
            "ask_s": ask_s,
            "calm_ms": calm,
            "moving_ms": moving,
            "line_ms": crowd.line_ms,
            "hits": _hits(server),
        }


class _Crowd:
    """All clients of the server, and the socket whose pongs tell its loop's delay."""

    def __init__(self, selector: selectors.BaseSelector, probe: kit.Socket) -> None:
        self._selector = selector
        self._probe = probe
        self._started_s: dict[int, float] = {}
        self._seen: set[int] = set()
        self.line_ms: list[float] = []
        selector.register(probe, selectors.EVENT_READ)

    @property
    def queued(self) -> int:
        """Clients that have been told their position."""
        return len(self._seen)

    def listen(self, seconds: float, until_lines: int = 0) -> list[float]:
        """Take all that comes, for so long and until so many runs; return the pongs' ms."""
        delays: list[float] = []
        begun_s = time.perf_counter()
        pinged_s = 0.0
        answered = True
        while True:
            now_s = time.perf_counter()
            if now_s - begun_s >= seconds and len(self.line_ms) >= until_lines and answered:
                return delays
            if answered and now_s - pinged_s >= PING_EVERY_S:
                pinged_s = time.perf_counter()
                self._probe.ping()
                answered = False
            for key, _ in self._selector.select(PING_EVERY_S):
                client = key.fileobj
                assert isinstance(client, kit.Socket)
                client.pump()
                self._take(client)
                if client is self._probe and client.pong_s > pinged_s:
                    answered = True
                    delays.append((client.pong_s - pinged_s) * MS)
                    client.pong_s = 0.0

    def _take(self, client: kit.Socket) -> None:
        now_s = time.perf_counter()
        number = client.fileno()
        while (message := client.pop()) is not None:
            if message.startswith(b'{"type":"queued"'):
                self._seen.add(number)
            elif message.startswith(b'{"type":"started"'):
                self._started_s[number] = now_s
            elif message.startswith(b'{"type":"stdout"') and number in self._started_s:
                self.line_ms.append((now_s - self._started_s.pop(number)) * MS)
            elif message.startswith(b'{"type":"error"'):
                raise RuntimeError(json.loads(message))


def _hits(server: kit.Server) -> list[str]:
    lines = server.get("/metrics").decode().splitlines()
    return [line for line in lines if line.startswith("wsrunner_pool_leases")]
