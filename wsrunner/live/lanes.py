"""Whose stdin came how far: so that what is sent again after a lost connection is taken once.

Owns the counts. Pure. A lane is all that one driver sends, over however many sockets.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wsrunner.errors import BadMessageError, KeptFullError

LANES_MAX = 256
"""Lanes that a run may have over its life; each is a few hundred bytes."""
AT_PATH = "$.at"


@dataclass(slots=True)
class Lane:
    """One driver's stdin.

    Attributes:
        taken_bytes: Bytes that the run has taken from it.
        drained_bytes: Those of them that the program's side has taken.
        eofs: Ends of file that came; on a terminal there may be several.
    """

    taken_bytes: int = 0
    drained_bytes: int = 0
    eofs: int = 0

    def fresh(self, data: bytes, at: int | None) -> bytes:
        """Return what of `data` has not been taken yet.

        Args:
            data: Bytes of stdin.
            at: Where in this lane they begin; None for behind all that came.

        Raises:
            BadMessageError: Bytes between what came and these are missing.
        """
        if at is None:
            return data
        if at > self.taken_bytes:
            raise missing(at, self.taken_bytes)
        return data[self.taken_bytes - at :]


def missing(at: int, taken_bytes: int) -> BadMessageError:
    """Return the error for stdin that does not follow on what has come."""
    return BadMessageError(
        f"stdin at byte {at}, but only {taken_bytes} bytes have come; send it again from there",
        path=AT_PATH,
    )


class Lanes:
    """All lanes of one run."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        # Taken, not drained yet: whose, and how many bytes.
        self._queue: deque[tuple[Lane, int]] = deque()
        self._drained_bytes = 0

    def lane(self, name: str) -> Lane:
        """Return a driver's lane, a new one if the name is new.

        Raises:
            KeptFullError: There are too many.
        """
        found = self._lanes.get(name)
        if found is None:
            if len(self._lanes) >= LANES_MAX:
                raise KeptFullError(
                    f"{len(self._lanes)} drivers have come to this run; the limit is {LANES_MAX}"
                )
            found = self._lanes[name] = Lane()
        return found

    def took(self, lane: Lane, size_bytes: int) -> None:
        """Count bytes that the run has taken."""
        lane.taken_bytes += size_bytes
        self._queue.append((lane, size_bytes))

    def drained(self, total_bytes: int) -> None:
        """Hear how much of all stdin the program's side has taken."""
        fresh = total_bytes - self._drained_bytes
        self._drained_bytes = total_bytes
        while fresh > 0 and self._queue:
            lane, size = self._queue.popleft()
            part = min(size, fresh)
            lane.drained_bytes += part
            fresh -= part
            if part < size:
                self._queue.appendleft((lane, size - part))
