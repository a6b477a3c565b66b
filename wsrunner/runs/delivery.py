"""The way from a run to whoever reads it.

Owns the numbers of the events, and how long a reader is waited for once the run has ended. Knows
readers, not sockets.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from wsrunner.runs.events import Event


class ReaderGoneError(Exception):
    """Nobody reads this run any more."""


class Reader(Protocol):
    """Where a run's events go; encodes them for its own client."""

    async def send(self, event: Event) -> None:
        """Deliver one event, waiting while the receiver is slow.

        Raises:
            ReaderGoneError: The receiver is gone.
        """
        ...

    async def drop(self) -> None:
        """Give the receiver up: it takes nothing, or is gone. Idempotent."""
        ...

    def over(self) -> None:
        """Nothing is left of the run: its container is gone, its slot free. Must not raise."""
        ...


class Delivery:
    """Numbers a run's events and hands them to its reader, in order.

    Args:
        reader: Where they go.
    """

    __slots__ = ("_reader", "_seq", "_until_s")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._seq = 0
        self._until_s: float | None = None

    def number(self) -> int:
        """Return the next event's number."""
        self._seq += 1
        return self._seq

    async def send(self, event: Event) -> None:
        """Deliver an event, for as long as a reader is waited for.

        Raises:
            ReaderGoneError: The reader is gone, or took too long over the last of it.
        """
        if self._until_s is None:
            await self._reader.send(event)
            return
        try:
            async with asyncio.timeout_at(self._until_s):
                await self._reader.send(event)
        except TimeoutError as exc:
            raise ReaderGoneError("the end of the output is not taken") from exc

    def bound(self, wait_s: float) -> None:
        """Wait no longer than that for all that is left: the run has ended, but holds its slot."""
        if self._until_s is None:
            self._until_s = asyncio.get_running_loop().time() + wait_s

    @property
    def until_s(self) -> float | None:
        """Until when, by the loop's clock, its reader is waited for; None before the run's end."""
        return self._until_s

    async def drop(self) -> None:
        """See `Reader.drop`."""
        await self._reader.drop()

    def over(self) -> None:
        """See `Reader.over`."""
        self._reader.over()
