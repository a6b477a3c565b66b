"""A million things that nobody should send: no crash, no hang, no byte lost.

Each attempt is made by chance from a seed that is printed with whatever goes wrong, so that it can
be made again. What is pure is called by itself, the rest goes to a real server.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from bench import kit
from bench.attempts import ATTEMPTS, Attempt, request
from bench.kit import Figure

NAME = "fuzz"
HELP = "messages, frames, requests, reports and journals that are wrong, by chance"
APART = True
COUNT = 1_000_000
SLOW_S = 2.0
"""An attempt that takes longer counts as a hang."""
GONE_S = 90.0
"""How long a connection may be without a request, and more."""
FEW = 4.0
"""Connections to the engine, which come and go."""
SHOWN = 10
"""Failures that are told."""
SAY_EVERY_S = 1.0


class Failure(NamedTuple):
    """An attempt that went wrong, and how to make it again."""

    target: str
    seed: str
    reason: str


def try_all(
    targets: Mapping[str, tuple[int, Attempt]], seed: str, failures: list[Failure]
) -> Iterator[tuple[str, int]]:
    """Make all attempts; yields the target and how many of its are done, now and then."""
    for target, (count, attempt) in targets.items():
        for number in range(count):
            name = f"{seed}:{target}:{number}"
            begun_s = time.monotonic()
            try:
                attempt(random.Random(name))
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is what is looked for
                failures.append(Failure(target, name, repr(exc)[:500]))
            else:
                took_s = time.monotonic() - begun_s
                if took_s > SLOW_S:
                    failures.append(Failure(target, name, f"took {took_s:.1f} s"))
            if number % 256 == 0:
                yield target, number
        yield target, count


def shares(count: int, port: int | None) -> dict[str, tuple[int, Attempt]]:
    """Return the targets with how many attempts each gets; without a port none at a server."""
    targets = {name: (round(share * count), attempt) for name, (share, attempt) in ATTEMPTS.items()}
    if port is not None:
        targets["requests"] = count - sum(each for each, _ in targets.values()), request(port)
    return targets


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Fuzz; see the module. `runs` is the number of attempts."""
    del out
    count = runs or (COUNT // 50 if quick else COUNT)
    seed = str(random.SystemRandom().randrange(10**9))
    failures: list[Failure] = []
    with ExitStack() as stack:
        server = stack.enter_context(kit.Server(warm=""))
        targets = shares(count, server.port)
        before_bytes, before_fds = server.memory_bytes(), _descriptors(server)
        said_s = 0.0
        for target, number in try_all(targets, seed, failures):
            if time.monotonic() - said_s > SAY_EVERY_S:
                said_s = time.monotonic()
                kit.progress(f"fuzz: {target} {number} of {targets[target][0]}")
        assert server.get("/healthz"), "the server answers"
        grown_bytes = server.memory_bytes() - before_bytes
        left_fds = _left_open(server, before_fds)
        tracebacks = server.log().count("Traceback")
    kit.progress("")
    for failure in failures[:SHOWN]:
        print(f"{failure.target}, made from {failure.seed!r}: {failure.reason}")
    figures = [Figure(name, "attempts", float(each)) for name, (each, _) in targets.items()]
    figures += [
        Figure("crashes, hangs and lost bytes", "found", float(len(failures)), most=0.0),
        Figure("tracebacks in the server's log", "found", float(tracebacks), most=0.0),
        Figure("descriptors left open", "found", float(left_fds), most=FEW),
        Figure("memory of the server, growth", "MB", grown_bytes / 1e6, most=32.0),
    ]
    return kit.result(figures, seed=seed, failures=[each._asdict() for each in failures[:100]])


def _left_open(server: kit.Server, before: int) -> int:
    """Return how many descriptors are open that were not, when the last connections have gone."""
    until_s = time.monotonic() + GONE_S
    while (more := _descriptors(server) - before) > 0 and time.monotonic() < until_s:
        time.sleep(0.5)
    return max(0, more)


def _descriptors(server: kit.Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
