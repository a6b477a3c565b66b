"""What comes from a program: cut into chunks, bounded, delivered.

Owns the output limit and the pace at which a container is read. What belongs into one chunk is
`lines`' to say.
"""

from __future__ import annotations

import asyncio
import time

from wsrunner.engines.base import Frame
from wsrunner.runs.delivery import Delivery
from wsrunner.runs.events import Output
from wsrunner.runs.lines import Batcher, Chunk

VAIN_READS_MAX = 8
"""Reads between two messages after which a program counts as one that prints line by line, fast."""
BREATH_S = 0.002
"""Such a program is read at this pace: waking for each of its writes took 3 times the CPU."""


class OutputStream:
    """One run's output, on its way out.

    Args:
        delivery: Where it goes.
        tty: For a terminal: unfinished lines do not wait.

    Attributes:
        taken_bytes: Bytes taken, all of which are or will be delivered.
        truncated: Whether more came than was taken.
        first_s: When the first of it was delivered, on the monotonic clock; None before.
    """

    __slots__ = ("_batcher", "_delivery", "_vain_reads", "first_s", "taken_bytes", "truncated")

    def __init__(self, delivery: Delivery, *, tty: bool) -> None:
        self._delivery = delivery
        self._batcher = Batcher(interactive=tty)
        self._vain_reads = 0
        self.taken_bytes = 0
        self.truncated = False
        self.first_s: float | None = None

    def due_in_s(self) -> float | None:
        """Return the seconds until something is due even if nothing more comes; None for never."""
        due_s = self._batcher.deadline()
        return None if due_s is None else due_s - time.monotonic()

    def take(self, frame: Frame, max_bytes: int) -> None:
        """Take output up to the limit for the whole run; sets `truncated` where there is more."""
        data = frame.data[: max_bytes - self.taken_bytes]
        self.taken_bytes += len(data)
        if len(data) < len(frame.data):
            self.truncated = True
        if data:
            self._batcher.feed(frame.stream, data, time.monotonic())

    async def send_due(self, *, pace: bool) -> None:
        """Deliver what is due.

        Args:
            pace: Pause a little if the program prints much faster than that.

        Raises:
            ReaderGoneError: The reader is gone.
        """
        chunks = self._batcher.due(time.monotonic())
        await self._send(chunks)
        if pace:
            self._vain_reads = 0 if chunks else self._vain_reads + 1
            if self._vain_reads > VAIN_READS_MAX:
                await asyncio.sleep(BREATH_S)

    async def finish(self) -> None:
        """Deliver all that is left, unfinished lines too.

        Raises:
            ReaderGoneError: The reader is gone.
        """
        await self._send(self._batcher.finish())

    async def _send(self, chunks: list[Chunk]) -> None:
        if chunks and self.first_s is None:
            self.first_s = time.monotonic()
        for chunk in chunks:
            await self._delivery.send(Output(self._delivery.number(), chunk.stream, chunk.data))
