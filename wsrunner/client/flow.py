"""How much is on its way: output that nobody took yet, stdin that no program read yet.

Both make a fast side wait for a slow one, so that neither costs memory. No I/O.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Literal, NamedTuple, TypeVar

from wsrunner.units import KIB

T = TypeVar("T")

OUTPUT_BUFFER_BYTES = 256 * KIB
COST_BYTES = 128
"""What one buffered piece costs beside its data, so that tiny ones count too."""
STDIN_WINDOW_BYTES = 256 * KIB
"""Stdin sent beyond what the server said the program took; it refuses when 1 MiB waits there."""

StreamName = Literal["stdout", "stderr"]


class Output(NamedTuple):
    """A piece of what the program printed.

    Attributes:
        stream: ``stdout`` or ``stderr``. A terminal run has only ``stdout``.
        data: The bytes as printed. Whole lines where they come whole.
    """

    stream: StreamName
    data: bytes


class Buffer(Generic[T]):
    """What has come over the socket and its consumer did not take yet.

    Attributes:
        dropped: Some was thrown away, so that what is left is not all.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.dropped = False
        self._items: deque[tuple[T, int]] = deque()
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._discarding = False
        self._space = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def last(self) -> T | None:
        """What came last and is there still."""
        return self._items[-1][0] if self._items else None

    def put(self, item: T, size_bytes: int) -> bool:
        """Take a piece of so many bytes; tell whether the buffer is full now."""
        if self._discarding:
            self.dropped = True
            return False
        cost = size_bytes + COST_BYTES
        self._items.append((item, cost))
        self._bytes += cost
        return self._bytes > self._limit_bytes

    def take(self) -> T:
        """Return the next piece; there must be one."""
        item, cost = self._items.popleft()
        self._bytes -= cost
        if self._bytes <= self._limit_bytes // 2:
            self._space.set()
        return item

    def discard(self) -> None:
        """Throw away what is there, and all that comes."""
        self._discarding = True
        self.dropped = self.dropped or bool(self._items)
        self._items.clear()
        self._bytes = 0
        self._space.set()

    async def room(self) -> None:
        """Wait until the consumer took half of a full buffer. Cancelling is safe."""
        self._space.clear()
        if self._bytes > self._limit_bytes:
            await self._space.wait()

    def end(self) -> None:
        """Let go who waits for room."""
        self._space.set()


class StdinWindow:
    """Stdin between the sender and the program."""

    def __init__(self) -> None:
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._ended = False
        self._writable = asyncio.Event()

    async def send(self, size_bytes: int) -> bool:
        """Wait until so many bytes may be sent, and count them as sent.

        Returns:
            False if the run ended instead: then nothing is to be sent.

        Cancelling is safe.
        """
        while (
            not self._ended
            and self._sent_bytes - self._taken_bytes + size_bytes > STDIN_WINDOW_BYTES
        ):
            self._writable.clear()
            await self._writable.wait()
        if not self._ended:
            # Counted before it is sent: the answer may come in before that returns.
            self._sent_bytes += size_bytes
        return not self._ended

    def taken(self, total_bytes: int) -> None:
        """Hear how much the program took since it began."""
        self._taken_bytes = max(self._taken_bytes, total_bytes)
        self._writable.set()

    def end(self) -> None:
        """Let go who waits: nothing will be taken any more."""
        self._ended = True
        self._writable.set()
