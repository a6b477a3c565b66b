"""Short runs a second with all slots busy, against the engine's own best rate.

Both sides run the same program in containers of the same configuration, as many at once; the raw
side creates, attaches, starts, writes, reads the report and removes, in threads of blocking calls.
The sides take turns of a few seconds. wsrunner's turn is counted from the moment on at which its
spare containers are used up: from then on each run costs it a container too.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from bench import kit
from bench.kit import Figure
from wsrunner.settings import Settings

NAME = "throughput"
HELP = "short runs a second with all slots busy, against the engine's own rate"
CODE = 'print("hello")\n'
LEAD_S = 1.5


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module."""
    del out
    rounds = runs or (2 if quick else 5)
    turn_s = 4.0 if quick else 5.0
    slots = Settings().slots
    engine = kit.RawEngine()
    order = engine.order(language="python", code=CODE)
    rates: dict[str, list[float]] = {"server": [], "no pool": [], "engine": []}
    with kit.Server(warm="python=1") as server, kit.Server(warm_max=0) as poolless:

        def take(name: str, serving: kit.Server) -> None:
            serving.settle(engine)
            rates[name].append(_serve(serving, slots, turn_s))
            serving.settle(engine)

        def take_engine() -> None:
            rates["engine"].append(_drive(engine, order, slots, turn_s))

        kit.interleave(
            rounds,
            lambda: take("server", server),
            lambda: take("no pool", poolless),
            take_engine,
            say="throughput",
        )
    base = f"engine, {slots} at once"
    figures: list[Figure] = [
        kit.compare(
            f"python, {slots} slots", "runs/s", rates["server"], base, rates["engine"], least=0.95
        ),
        kit.compare(
            f"python, {slots} slots, no pool", "runs/s", rates["no pool"], base, rates["engine"]
        ),
    ]
    return kit.result(figures, runs_per_s=rates)


def _serve(server: kit.Server, slots: int, seconds: float) -> float:
    """Return exits a second while three times as many runs are outstanding as there are slots."""
    live = 0
    ends: list[float] = []
    with kit.Socket(server.port) as client:
        begun_s = time.perf_counter()
        while live or not ends:
            while live < 3 * slots and time.perf_counter() - begun_s < seconds + LEAD_S:
                name = f"{len(ends)}-{live}-{time.perf_counter_ns()}"
                client.send(type="run", id=name, language="python", code=CODE)
                live += 1
            message = client.receive()
            if message.startswith(b'{"type":"exit"'):
                live -= 1
                ends.append(time.perf_counter() - begun_s)
            elif message.startswith(b'{"type":"error"'):
                raise RuntimeError(message.decode())
    counted = [at for at in ends if LEAD_S < at <= seconds + LEAD_S]
    return (len(counted) - 1) / (counted[-1] - counted[0])


def _drive(engine: kit.RawEngine, order: Any, slots: int, seconds: float) -> float:
    ends: list[float] = []
    begun_s = time.perf_counter()

    def cycle() -> None:
        while time.perf_counter() - begun_s < seconds + LEAD_S:
            engine.run(order)
            ends.append(time.perf_counter() - begun_s)

    threads = [threading.Thread(target=cycle) for _ in range(slots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = sorted(at for at in ends if LEAD_S < at <= seconds + LEAD_S)
    return (len(counted) - 1) / (counted[-1] - counted[0])
