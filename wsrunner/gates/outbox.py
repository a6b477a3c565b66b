"""Letters that wait to be sent to other servers through Redis.

Owns how many may wait, and how many go out at once. No tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from wsrunner.errors import QueueFullError
from wsrunner.gates.asked import AGAIN_S
from wsrunner.units import MIB

OUTBOX_MAX_BYTES = 16 * MIB
"""Letters that wait to be sent; what is asked of other servers is refused beyond."""
WRITE_BYTES = 2 * MIB
"""Of how much one write goes beyond by no more than one thing: it must be done in `asked.REPLY_S`,
also after Redis was away and all have something to tell."""
WRITE_LETTERS = 2000
"""Letters that go out at once, likewise: small ones take their time by number."""


class Outbox:
    """Letters (to whom, content), in their order.

    Attributes:
        bytes: Of all that wait.
    """

    def __init__(self) -> None:
        self._letters: deque[tuple[str, bytes]] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._letters)

    def check_place(self) -> None:
        """Raise QueueFullError if too much waits to be sent."""
        if self.bytes > OUTBOX_MAX_BYTES:
            raise QueueFullError(
                f"{self.bytes} bytes wait to be sent to other servers; the limit is "
                f"{OUTBOX_MAX_BYTES} bytes",
                retry_after_s=AGAIN_S,
            )

    def add(self, replica: str, content: bytes) -> None:
        """Take a letter in."""
        self._letters.append((replica, content))
        self.bytes += len(content)

    def first(self) -> list[tuple[str, bytes]]:
        """Return the letters that go out at once; they stay until `sent`."""
        taken: list[tuple[str, bytes]] = []
        size = 0
        for each in islice(self._letters, WRITE_LETTERS):
            if size > WRITE_BYTES:
                break
            taken.append(each)
            size += len(each[1])
        return taken

    def sent(self, letters: Sequence[tuple[str, bytes]]) -> None:
        """Give up those of `first`: it is known that they have gone out."""
        for _, content in letters:
            self._letters.popleft()
            self.bytes -= len(content)
