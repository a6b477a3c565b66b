"""CPU time that a container has used, by the kernel's own count of its control group.

Owns where that count is read: in this machine's files where the engine is on it, which takes
microseconds, and else from the engine, which looks once a second. What a program does to the
processes beside it changes neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
_NS_PER_US = 1000
_V2_KEY = "usage_usec"


def cpu_ns_here(container_id: str, root: Path = CGROUPS) -> int | None:
    """Return the nanoseconds by this machine's files; None if the container has none here.

    Args:
        container_id: All 64 digits, which no container of another machine has.
        root: Where the control groups are mounted (Linux: admin-guide/cgroup-v1/cpuacct.rst,
            admin-guide/cgroup-v2.rst).
    """
    for file in _files(container_id, root):
        try:
            text = file.read_text(encoding="ascii")
        except OSError:
            continue
        if file.name == "cpuacct.usage":
            return int(text)
        fields = dict(line.split(" ", 1) for line in text.splitlines())
        return int(fields[_V2_KEY]) * _NS_PER_US
    return None


def _files(container_id: str, root: Path) -> Iterator[Path]:
    """Yield where Docker's two drivers, cgroupfs and systemd, have a container's count."""
    for group in (f"docker/{container_id}", f"system.slice/docker-{container_id}.scope"):
        for controller in ("cpuacct", "cpu,cpuacct"):
            yield root / controller / group / "cpuacct.usage"
        yield root / group / "cpu.stat"


def cpu_ns_told(stats: Mapping[str, Any]) -> int | None:
    """Return the nanoseconds in an engine's answer; None where the runtime does not count.

    Args:
        stats: Docker Engine API 1.41: GET /containers/{id}/stats.
    """
    return int(stats["cpu_stats"]["cpu_usage"]["total_usage"]) or None
