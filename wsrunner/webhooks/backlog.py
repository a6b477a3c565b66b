"""Messages that wait: for their run's end, or for their next attempt.

Owns the contract, and the backlog of a server alone. `store` has the one that replicas share.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from copy import copy

from wsrunner.webhooks.message import Message


class Backlog(ABC):
    """Keeps messages until they are given up.

    Every method raises GateUnavailableError if what keeps them can't be reached. Cancelling is
    safe: the step is done or not.
    """

    @abstractmethod
    async def put(self, message: Message, due_s: float) -> None:
        """Keep a message, or a later state of it, that is due in so many seconds."""

    @abstractmethod
    async def take(self, count: int, lease_s: float) -> list[Message]:
        """Return messages that are due, the longest first; they are due again in `lease_s`."""

    @abstractmethod
    async def drop(self, message_id: str) -> None:
        """Keep a message no more. Idempotent."""

    @abstractmethod
    async def count(self, owner: str = "") -> int:
        """Return how many are kept, of all or of one owner."""

    @abstractmethod
    async def close(self) -> None:
        """Give up what it holds of others."""


class MemoryBacklog(Backlog):
    """Messages of this process, which end with it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Message]] = {}

    async def put(self, message: Message, due_s: float) -> None:
        """See `Backlog.put`."""
        self._kept[message.id] = (time.monotonic() + due_s, copy(message))

    async def take(self, count: int, lease_s: float) -> list[Message]:
        """See `Backlog.take`."""
        now = time.monotonic()
        due = sorted((at, id_) for id_, (at, _) in self._kept.items() if at <= now)[:count]
        taken = [copy(self._kept[id_][1]) for _, id_ in due]
        for message in taken:
            self._kept[message.id] = (now + lease_s, message)
        return [copy(message) for message in taken]

    async def drop(self, message_id: str) -> None:
        """See `Backlog.drop`."""
        self._kept.pop(message_id, None)

    async def count(self, owner: str = "") -> int:
        """See `Backlog.count`."""
        return sum(owner in {"", each.owner} for _, each in self._kept.values())

    async def close(self) -> None:
        """See `Backlog.close`."""
