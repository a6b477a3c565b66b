"""Tells a reader where its run stands in the queue: the newest position only.

Owns the position that is due.
"""

from __future__ import annotations

import asyncio

from wsrunner.gates.base import Place
from wsrunner.runs.delivery import Delivery
from wsrunner.runs.events import Queued
from wsrunner.runs.tasks import Tasks


class Announcer:
    """Announces queue positions as fast as the reader takes them, leaving out those in between.

    Attributes:
        began: Whether there was anything to announce.
    """

    __slots__ = ("_delivery", "_due", "_task", "_tasks", "_told", "began")

    def __init__(self, delivery: Delivery, tasks: Tasks) -> None:
        self._delivery = delivery
        self._tasks = tasks
        self._due: Queued | None = None
        self._told = 0
        self._task: asyncio.Task[None] | None = None
        self.began = False

    def moved(self, place: Place) -> None:
        """Take a new position; the gate calls this, so it must not wait."""
        self.began = True
        self._due = Queued(*place)
        if self._task is None or self._task.done():
            self._task = self._tasks.start(self._announce())

    def drop(self) -> None:
        """Keep a position from being told after the start, or the end.

        One that is on its way to a slow reader has been written whole and is only waited for.
        """
        self._due = None
        if self._task is not None:
            self._task.cancel()

    async def _announce(self) -> None:
        while (due := self._due) is not None:
            self._due = None
            overtaken = max(due.position - self._told, 0) if self._told else 0
            self._told = due.position
            await self._delivery.send(due._replace(overtaken=overtaken))
        self._task = None
