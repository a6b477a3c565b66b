"""What the figures depend on: the machine and the versions."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import wsrunner
from bench.kit.engine import RawEngine
from bench.kit.server import PAGE_BYTES
from wsrunner.units import MIB


def machine() -> dict[str, Any]:
    """Return what the figures depend on: the machine and the versions."""
    cpu = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    engine = RawEngine().call("GET", "/version")
    parts = {part["Name"]: part["Version"] for part in engine.get("Components", ())}
    packages = ("websockets", "uvloop", "aiodocker", "aiohttp", "msgspec")
    from importlib.metadata import version

    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES // MIB,
        "kernel": platform.release(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "wsrunner": wsrunner.__version__,
        "packages": {name: version(name) for name in packages},
        "engine": parts,
    }
