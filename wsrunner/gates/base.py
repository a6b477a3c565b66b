"""The gate's contract: N slots, one fair queue, live positions.

Owns the interface that ``gates.memory`` and ``gates.redis`` share. Must not import any backend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self


class Place(NamedTuple):
    """Where a waiter stands.

    Attributes:
        position: 1 is next.
        waiting: All waiters, this one too.
        eta_s: Seconds until its turn, as far as can be told; None while no permit has ended yet.
    """

    position: int
    waiting: int
    eta_s: float | None = None


PositionListener = Callable[[Place], None]


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request to run.

    Args:
        id: Unique for ever, across replicas; the run's id.
        tenant: Whose share of slots and queue it uses; the empty string for nobody's,
            which are bound by no share.
        engine: The engine whose capacity it needs.
        user: Which of the tenant's clients asks: they take turns. The empty string for nobody,
            whose tickets come one after the other.
    """

    id: str
    tenant: str = ""
    engine: str = "local"
    user: str = ""


@dataclass(eq=False, slots=True)
class Permit:
    """The right to run, until the context that gave it is left.

    Attributes:
        ticket: What was admitted.
        fence: Grows with every grant of this gate; a late release with an old fence does nothing.
        waited_s: Seconds spent in the queue; 0.0 if there was no wait.
        lost: Set when the lease can't be kept: the holder must stop at once.
    """

    ticket: Ticket
    fence: int
    waited_s: float = 0.0
    lost: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Shares:
    """What one tenant may use of the gate; 0 sets no limit.

    Args:
        slots: Permits one tenant may hold at once, across all replicas.
        queue: Tickets one tenant may have in the queue.
    """

    slots: int = 0
    queue: int = 0


@dataclass(frozen=True, slots=True)
class EngineState:
    """One engine in a `GateState`.

    Attributes:
        held: Permits out on this engine now.
        slots: Its own capacity; None if only the gate's N bounds it.
    """

    held: int
    slots: int | None


@dataclass(frozen=True, slots=True)
class GateState:
    """A snapshot for the monitor and the metrics.

    Attributes:
        slots: N, the permits that may be out at once, across all replicas.
        held: Permits out now.
        waiting: Tickets in the queue.
        queue_max: Tickets the queue takes before `QueueFullError`.
        engines: Every engine that replicas use, or that has a capacity of its own, by name.
        replicas: Processes that share the gate.
        replica_names: Their names, as far as they gave one, in order.
    """

    slots: int
    held: int
    waiting: int
    queue_max: int
    engines: Mapping[str, EngineState] = field(default_factory=dict)
    replicas: int = 1
    replica_names: Sequence[str] = ()


def retry_after_s(queue_max: int, grants_per_s: float) -> float:
    """Return when a refused client should come back: after a tenth of a full queue has moved on.

    Sooner, and most of those refused together would be refused again.

    Args:
        queue_max: Tickets that a full queue holds.
        grants_per_s: The recent rate of grants; 0.0 if there were none.

    Returns:
        Between 1 and 60 seconds; 5 while no rate is known.
    """
    if grants_per_s <= 0:
        return 5.0
    return round(min(max((1 + queue_max / 10) / grants_per_s, 1.0), 60.0), 1)


class Gate(Protocol):
    """Admits tickets in order, never more than N at once.

    ``async with gate`` opens and closes the backend. All other methods need an open gate.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def admit(
        self, ticket: Ticket, *, on_position: PositionListener
    ) -> AbstractAsyncContextManager[Permit]:
        """Wait for a slot and hold it for the length of the ``async with`` block.

        Args:
            ticket: Its id must not be in the gate already.
            on_position: Called at once (before the first wait) if the ticket must wait, then at
                changes; not called if it need not wait. A position is higher than before only if
                tickets of other users, whose turn comes earlier, were put before it. Must not
                block or raise.

        Raises:
            QueueFullError: The queue holds `queue_max` tickets, or all that this tenant or this
                user may have in it; carries `retry_after_s`.
            GateUnavailableError: The backend can't be reached.
            ValueError: A ticket of that id is in the gate already.

        Cancelling is safe at every await: the ticket leaves the queue or its slot is released.
        """
        ...

    async def state(self) -> GateState:
        """Return a snapshot.

        Raises:
            GateUnavailableError: The backend can't be reached.
        """
        ...

    async def resize(self, slots: int) -> None:
        """Set N, at least 1. A lowered N kills nobody: grants pause until enough slots are free.

        Raises:
            GateUnavailableError: The backend can't be reached.
            ValueError: `slots` is below 1.
        """
        ...

    async def share(self, tenant: str, shares: Shares) -> None:
        """Set what one tenant may use, in place of what all may. Ends nobody.

        Raises:
            GateUnavailableError: The backend can't be reached.
        """
        ...

    async def resize_engine(self, engine: str, slots: int | None) -> None:
        """Set an engine's own capacity; None takes its limit away, 0 pauses it.

        Waiters of a paused engine keep their places and are passed over.

        Raises:
            GateUnavailableError: The backend can't be reached.
            ValueError: `slots` is below 0.
        """
        ...
