"""The gate of a single process: no Redis needed, nothing survives the process.

Owns the waiting tasks and the pace of position updates; `line` decides who runs, `positions`
counts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Self

from wsrunner.errors import GateUnavailableError, QueueFullError
from wsrunner.gates.base import (
    GateState,
    Permit,
    Place,
    PositionListener,
    Shares,
    Ticket,
    retry_after_s,
)
from wsrunner.gates.estimate import Estimate
from wsrunner.gates.lanes import Entry, Line
from wsrunner.gates.positions import Positions

POSITIONS_EVERY_S = 0.1
"""Positions are told at most this often: grants that come faster share one update."""


class _Waiter:
    """A task in the queue."""

    __slots__ = ("granted", "on_position", "ticket")

    def __init__(self, ticket: Ticket, on_position: PositionListener) -> None:
        self.ticket = ticket
        self.granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.on_position = on_position


class MemoryGate:
    """A gate within one process.

    Args:
        slots: N, the permits that may be out at once; at least 1.
        queue_max: Tickets the queue takes; 0 refuses whatever can't run at once.
        engine_slots: Engines' own capacities by name; an engine not named has none but N.
        shares: What one tenant may use.
    """

    def __init__(
        self,
        slots: int,
        queue_max: int = 1000,
        engine_slots: Mapping[str, int] = MappingProxyType({}),
        *,
        shares: Shares = Shares(),  # noqa: B008  frozen, so sharing it is harmless
    ) -> None:
        self._line = Line(slots, queue_max, engine_slots, shares)
        self._positions: Positions[str] = Positions()
        self._waiters: dict[str, _Waiter] = {}
        self._grant_times: deque[float] = deque(maxlen=64)
        self._estimate = Estimate()
        self._update: asyncio.TimerHandle | None = None
        self._open = False

    def __repr__(self) -> str:
        line = self._line
        return f"<MemoryGate {line.held} of {line.slots} held, {line.waiting} waiting>"

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._open = False
        if self._update is not None:
            self._update.cancel()
            self._update = None
        for waiter in self._waiters.values():
            if not waiter.granted.done():
                waiter.granted.set_exception(GateUnavailableError("the gate is closed"))

    @asynccontextmanager
    async def admit(
        self, ticket: Ticket, *, on_position: PositionListener
    ) -> AsyncIterator[Permit]:
        """Wait for a slot and hold it; see `gates.base.Gate.admit`.

        Cancelling is safe at every await: `leave` takes the ticket out in whatever state it is,
        a grant that came in the same turn of the loop included.
        """
        loop = asyncio.get_running_loop()
        entered_s = loop.time()
        granted_s: float | None = None
        if not self._open:
            raise GateUnavailableError("the gate is closed")
        try:
            entry = self._line.enter(ticket)
        except QueueFullError as exc:
            exc.retry_after_s = retry_after_s(self._line.queue_max, self._grants_per_s(entered_s))
            raise
        try:
            if entry.fence:
                self._grant_times.append(entered_s)
                granted_s = entered_s
                yield Permit(ticket, entry.fence)
                return
            waiter = self._waiters[ticket.id] = _Waiter(ticket, on_position)
            on_position(self._place(ticket, self._position(entry)))
            fence = await waiter.granted
            granted_s = loop.time()
            yield Permit(ticket, fence, waited_s=granted_s - entered_s)
        finally:
            if granted_s is not None:
                self._estimate.note(loop.time() - granted_s)
            self._leave(ticket)

    async def state(self) -> GateState:
        """Return a snapshot."""
        return self._line.state()

    async def resize(self, slots: int) -> None:
        """Set N; see `gates.base.Gate.resize`."""
        if slots < 1:
            raise ValueError(f"a gate has at least 1 slot, not {slots}")
        self._line.slots = slots
        self._grant()

    async def share(self, tenant: str, shares: Shares) -> None:
        """Set what one tenant may use; see `gates.base.Gate.share`."""
        self._line.share(tenant, shares)
        self._grant()

    async def resize_engine(self, engine: str, slots: int | None) -> None:
        """Set an engine's own capacity; see `gates.base.Gate.resize_engine`."""
        if slots is None:
            self._line.engine_slots.pop(engine, None)
        elif slots < 0:
            raise ValueError(f"an engine has 0 slots or more, not {slots}")
        else:
            self._line.engine_slots[engine] = slots
        self._grant()

    def _leave(self, ticket: Ticket) -> None:
        entry = self._line.leave(ticket.id)
        assert entry is not None
        self._waiters.pop(ticket.id, None)
        if not entry.fence:
            self._departed(entry)
        self._grant()

    def _grant(self) -> None:
        for entry in self._line.grants():
            self._grant_times.append(asyncio.get_running_loop().time())
            self._departed(entry)
            waiter = self._waiters.pop(entry.ticket.id)
            # A cancelled waiter's task has not run yet: it will give the slot back in `_leave`.
            if not waiter.granted.done():
                waiter.granted.set_result(entry.fence)

    def _position(self, entry: Entry) -> int:
        """Find a waiter's place among the others, and note that it went before some of them."""
        ahead = self._positions.rank(entry.place)
        if ahead < len(self._positions):
            self._positions.note(entry.place, -1)
            self._tell_soon()
        return self._positions.enter(entry.ticket.id, entry.place, ahead)

    def _departed(self, entry: Entry) -> None:
        self._positions.leave(entry.ticket.id)
        self._positions.note(entry.place)
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._update is None and len(self._positions) and self._open:
            loop = asyncio.get_running_loop()
            self._update = loop.call_later(POSITIONS_EVERY_S, self._tell)

    def _tell(self) -> None:
        self._update = None
        for ticket_id, position in self._positions.due():
            waiter = self._waiters[ticket_id]
            waiter.on_position(self._place(waiter.ticket, position))

    def _place(self, ticket: Ticket, position: int) -> Place:
        slots = self._line.slots_of(ticket.engine)
        return Place(position, self._line.waiting, self._estimate.eta_s(position, slots))

    def _grants_per_s(self, now_s: float) -> float:
        times = self._grant_times
        return len(times) / max(now_s - times[0], 0.001) if times else 0.0
