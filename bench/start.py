"""How long ``wsrunner serve`` takes to listen, against an interpreter that does nothing.

What its libraries take is shown beside it: first those that it loads before it listens.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import kit
from bench.kit import Figure

NAME = "start"
HELP = "time until the server listens, against a bare interpreter"
MS = 1e3
BEFORE = ("click", "uvloop", "msgspec", "websockets.asyncio.server", "wsrunner.serving.server")
AFTER = ("aiodocker", "redis.asyncio")
MOST = 300 / 22
"""Of the bare interpreter's time: 300 ms where that takes 22."""


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module."""
    del out
    rounds = runs or (5 if quick else 20)
    engine = kit.RawEngine()
    server: list[float] = []
    bare: list[float] = []
    ready: list[float] = []
    warm: list[float] = []

    def take_server() -> None:
        begun_s = time.perf_counter()
        with kit.Server(warm_max=0) as started:
            server.append((time.perf_counter() - begun_s) * MS)
            while b'"ready"' not in started.get("/readyz"):
                time.sleep(0.005)
            ready.append((time.perf_counter() - begun_s) * MS)

    def take_bare() -> None:
        bare.append(_interpreter("pass"))

    take_server(), take_bare()
    server.clear(), ready.clear(), bare.clear()
    kit.interleave(rounds, take_server, take_bare, say="start")
    for _ in range(max(2, rounds // 5)):
        begun_s = time.perf_counter()
        with kit.Server(warm="python=1") as started:
            while not started.spares():
                time.sleep(0.01)
            warm.append((time.perf_counter() - begun_s) * MS)
            started.settle(engine)
    imports = {
        name: kit.summary([_interpreter(f"import {name}") for _ in range(3)])["median"]
        for name in BEFORE + AFTER
    }
    figures = [
        kit.compare("server listens", "ms", server, "python -c pass", bare, most=MOST),
        kit.compare("engine and gate are there (/readyz)", "ms", ready, "python -c pass", bare),
        kit.compare("first warm container is there", "ms", warm),
        *(
            Figure(
                f"python -c 'import {name}'",
                "ms",
                value,
                note="before it listens" if name in BEFORE else "after",
            )
            for name, value in imports.items()
        ),
    ]
    return kit.result(
        figures, milliseconds={"server": server, "bare": bare, "ready": ready, "warm": warm}
    )


def _interpreter(code: str) -> float:
    begun_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - begun_s) * MS
