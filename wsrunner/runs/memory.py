"""How much code and input all waiting runs together may keep in memory.

Owns the count. Pure.
"""

from __future__ import annotations

from wsrunner.errors import QueueFullError

QUEUE_MAX_BYTES = 256 * 2**20
"""Code and input that all waiting runs together may keep in memory."""


class QueueMemory:
    """Counts what waiting runs keep."""

    def __init__(self) -> None:
        self.held_bytes = 0


class Held:
    """One run's part of a `QueueMemory`, from its request until it leaves the queue."""

    __slots__ = ("_bytes", "_memory")

    def __init__(self, memory: QueueMemory) -> None:
        self._memory = memory
        self._bytes = 0

    def take(self, count: int) -> None:
        """Count `count` bytes more.

        Raises:
            QueueFullError: All that wait would keep more than `QUEUE_MAX_BYTES`.
        """
        held_bytes = self._memory.held_bytes
        if held_bytes + count > QUEUE_MAX_BYTES:
            raise QueueFullError(
                f"waiting runs hold {held_bytes} bytes of code and input; the limit is "
                f"{QUEUE_MAX_BYTES} bytes",
                retry_after_s=5.0,
            )
        self._memory.held_bytes += count
        self._bytes += count

    def release(self) -> None:
        """Count them no more. Idempotent."""
        self._memory.held_bytes -= self._bytes
        self._bytes = 0
