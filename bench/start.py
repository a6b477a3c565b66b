"""How long ``wsrunner serve`` takes to listen, against an interpreter that does nothing."""

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
PARTS = (
    "websockets.asyncio.server",
    "uvloop",
    "msgspec",
    "aiodocker",
    "click",
    "wsrunner.serving.server",
)


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module."""
    del out
    rounds = runs or (5 if quick else 20)
    engine = kit.RawEngine()
    server: list[float] = []
    bare: list[float] = []
    ready: list[float] = []

    def take_server() -> None:
        begun_s = time.perf_counter()
        with kit.Server(warm_max=0):
            server.append((time.perf_counter() - begun_s) * MS)

    def take_bare() -> None:
        bare.append(_interpreter("pass"))

    take_server(), take_bare()
    server.clear(), bare.clear()
    kit.interleave(rounds, take_server, take_bare, say="start")
    for _ in range(max(2, rounds // 5)):
        begun_s = time.perf_counter()
        with kit.Server(warm="python=1") as started:
            while not started.spares():
                time.sleep(0.01)
            ready.append((time.perf_counter() - begun_s) * MS)
            started.settle(engine)
    imports = {
        name: kit.summary([_interpreter(f"import {name}") for _ in range(3)])["median"]
        for name in PARTS
    }
    figures = [
        kit.compare("server listens", "ms", server, "python -c pass", bare),
        Figure("server listens", "ms", kit.summary(server)["median"], most=300.0),
        kit.compare("first warm container is there", "ms", ready),
        *(
            Figure(f"python -c 'import {name}'", "ms", value)
            for name, value in sorted(imports.items(), key=lambda item: item[1])
        ),
    ]
    return kit.result(figures, milliseconds={"server": server, "bare": bare, "warm": ready})


def _interpreter(code: str) -> float:
    begun_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - begun_s) * MS
