"""What the benches share: a real server, a raw WebSocket, the raw engine, statistics, tables.

The instruments are blocking sockets of one process and one clock, so that they add as little as can
be to either side of a comparison. A bench measures a thing and its baseline in turns and reports
the ratio pair by pair: on a noisy machine both halves of a pair have met the same noise.
"""

from pathlib import Path

from bench.kit.client import Socket
from bench.kit.engine import RawContainer, RawEngine
from bench.kit.machine import machine
from bench.kit.numbers import (
    Figure,
    compare,
    interleave,
    markdown,
    number,
    progress,
    quantile,
    ratio,
    result,
    summary,
    take_in_turns,
)
from bench.kit.process import image_root, run_bare
from bench.kit.server import PAGE_BYTES, Server, environment
from bench.kit.timing import Timing

RESULTS = Path(__file__).parents[1] / "results"

__all__ = [
    "PAGE_BYTES",
    "RESULTS",
    "Figure",
    "RawContainer",
    "RawEngine",
    "Server",
    "Socket",
    "Timing",
    "compare",
    "environment",
    "image_root",
    "interleave",
    "machine",
    "markdown",
    "number",
    "progress",
    "quantile",
    "ratio",
    "result",
    "run_bare",
    "summary",
    "take_in_turns",
]
