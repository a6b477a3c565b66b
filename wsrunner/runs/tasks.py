"""The small tasks of one run, which end with it, and what must not end before it is done.

Owns them until they are done. A failed one is logged, never lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from wsrunner.runs.delivery import ReaderGoneError

log = logging.getLogger(__name__)


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Carry something out whole: who is cancelled meanwhile is so only when it is done."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            # More than once where a client cancels a run, goes, and the server stops.
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


class Tasks:
    """Starts tasks beside a run's own, and cancels what is left of them.

    Args:
        run_id: For the log.
    """

    __slots__ = ("_live", "_run_id")

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._live: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start one; it is cancelled at the run's end if it still runs."""
        task = asyncio.create_task(coroutine)
        self._live.add(task)
        task.add_done_callback(self._reap)
        return task

    def cancel(self) -> None:
        """Cancel all that still run."""
        for task in self._live:
            task.cancel()

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._live.discard(task)
        exc = None if task.cancelled() else task.exception()
        if exc is not None and not isinstance(exc, ReaderGoneError):
            log.error("run %s: a task failed", self._run_id, exc_info=exc)
