"""The run's limit of CPU time, over all of its processes.

Owns when to look. A process alone is bounded by the kernel (RLIMIT_CPU), and far more exactly; that
says nothing of a chain of processes of which each ends in time.
"""

from __future__ import annotations

import asyncio
import contextlib

from wsrunner.engines.base import Container
from wsrunner.errors import EngineUnavailableError

LOOK_S = 0.2
"""Shortest time between two looks: by so much CPU time a run may exceed its limit."""


async def used_up(container: Container, *, limit_s: float, cpus: float) -> None:
    """Return when all that runs in a container has used up its CPU time since its plan began.

    Looks only when that can have happened, so that a run that ends before costs nothing.

    Args:
        container: Has its plan just now.
        limit_s: CPU seconds.
        cpus: Cores that it may use at once.

    Cancelling is safe.
    """
    left_s = limit_s
    while left_s > 0:
        await asyncio.sleep(max(left_s / cpus, LOOK_S))
        # An engine that is away for now is asked again.
        with contextlib.suppress(EngineUnavailableError):
            left_s = limit_s - await container.cpu_used_s()
