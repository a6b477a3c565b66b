"""Who holds, who waits, and who is next: the in-memory gate's decisions.

Pure state: no clock, no tasks. A waiter's place in the queue is its round, which `turns` decides,
and its number. Waiters stand in lanes, one per engine and tenant, so that a full engine or a tenant
at its share is passed over without looking at those who wait for it. Each engine keeps a heap of
its lanes' first places, and a grant takes the smallest among the engines with spare capacity:
O(engines + log waiters).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TypeVar

from wsrunner.errors import QueueFullError
from wsrunner.gates.base import EngineState, GateState, Shares, Ticket
from wsrunner.gates.turns import Turns

NUMBERS = 1 << 64
"""Places in a round: each ticket gets a number of its own, and there are never so many."""
K = TypeVar("K")


@dataclass(slots=True)
class Entry:
    """A ticket in the gate.

    Attributes:
        ticket: Whose entry it is.
        place: Its place in the queue's order; 0 if it never waited.
        fence: Its grant's number; 0 while it waits.
    """

    ticket: Ticket
    place: int = 0
    fence: int = 0


class _Lane:
    """Those who wait for one engine as one tenant; the heap may name some that left."""

    def __init__(self, turn: int) -> None:
        self.entries: dict[int, Entry] = {}
        self.turns = Turns(turn)
        self._places: list[int] = []

    def add(self, entry: Entry) -> None:
        self.entries[entry.place] = entry
        heappush(self._places, entry.place)

    def first(self) -> int:
        """Return the first place; there must be an entry."""
        while self._places[0] not in self.entries:
            heappop(self._places)
        return self._places[0]


class Line:
    """N slots, the engines' own capacities, the tenants' shares, and one bounded queue."""

    def __init__(
        self, slots: int, queue_max: int, engine_slots: Mapping[str, int], shares: Shares
    ) -> None:
        self.slots = slots
        self.queue_max = queue_max
        self.engine_slots = dict(engine_slots)
        self.held = 0
        self.waiting = 0
        self._shares = shares
        self._tenant_shares: dict[str, Shares] = {}
        self._round = 0  # the latest that has been served
        self._number = 0
        self._entries: dict[str, Entry] = {}
        self._fence = 0
        self._engine_held: Counter[str] = Counter()
        self._tenant_held: Counter[str] = Counter()
        self._tenant_waiting: Counter[str] = Counter()
        self._user_held: Counter[tuple[str, str]] = Counter()
        self._user_waiting: Counter[tuple[str, str]] = Counter()
        self._lanes: dict[tuple[str, str], _Lane] = {}
        # Engine -> heap of (first place, tenant). An entry that no longer names its lane's first
        # place is stale and dropped when it comes up. Engines are few and stay.
        self._heads: dict[str, list[tuple[int, str]]] = {}

    def enter(self, ticket: Ticket) -> Entry:
        """Grant the ticket at once if it can run now, else put it in the queue.

        Raises:
            QueueFullError: It would have to wait and finds no place; without `retry_after_s`.
            ValueError: A ticket of that id is in the gate.
        """
        if ticket.id in self._entries:
            raise ValueError(f"ticket {ticket.id!r} is in the gate already")
        entry = Entry(ticket)
        # Whoever could run has been granted, so an earlier waiter can't be overtaken here.
        if (
            self.held < self.slots
            and self._engine_free(ticket.engine)
            and self._tenant_free(ticket)
        ):
            self._hold(entry)
        else:
            self._queue(entry)
        self._entries[ticket.id] = entry
        return entry

    def leave(self, ticket_id: str, fence: int | None = None) -> Entry | None:
        """Take a ticket out, holding or waiting; late and repeated calls do nothing.

        Args:
            ticket_id: The ticket's id.
            fence: Leave only if this is its grant's number; None for any.

        Returns:
            The entry that left; None if there was none, or it has another fence.
        """
        entry = self._entries.get(ticket_id)
        if entry is None or (fence is not None and entry.fence != fence):
            return None
        del self._entries[ticket_id]
        engine, tenant = entry.ticket.engine, entry.ticket.tenant
        if not entry.fence:
            lane = self._lanes[engine, tenant]
            self._unqueue(entry)
            was_last = not self._user_waiting[_user(entry.ticket)]
            turn = entry.place // NUMBERS
            lane.turns.given_up(turn, entry.ticket.user, was_last=was_last)
            return entry
        self.held -= 1
        _decrease(self._user_held, _user(entry.ticket))
        _decrease(self._engine_held, engine)
        was_free = self._tenant_free(entry.ticket)
        _decrease(self._tenant_held, tenant)
        if not was_free:
            self._push_heads(tenant)
        return entry

    def share(self, tenant: str, shares: Shares) -> None:
        """Set what one tenant may use, in place of what all may."""
        self._tenant_shares[tenant] = shares
        self._push_heads(tenant)

    def grants(self) -> Iterator[Entry]:
        """Grant and yield, in queue order, every waiter that can run now."""
        while self.held < self.slots:
            heads = [
                (heap[0][0], engine)
                for engine in self._heads
                if self._engine_free(engine) and (heap := self._fresh_heap(engine))
            ]
            if not heads:
                return
            _, engine = min(heads)
            place, tenant = self._heads[engine][0]
            lane = self._lanes[engine, tenant]
            entry = lane.entries[place]
            turn = place // NUMBERS
            lane.turns.served(turn)
            self._round = max(self._round, turn)
            self._unqueue(entry)
            self._hold(entry)
            yield entry

    def slots_of(self, engine: str) -> int:
        """Return how many permits may be out at once on an engine."""
        return min(self.slots, self.engine_slots.get(engine, self.slots))

    def state(self) -> GateState:
        """Return a snapshot."""
        names = {*self.engine_slots, *self._engine_held}
        return GateState(
            slots=self.slots,
            held=self.held,
            waiting=self.waiting,
            queue_max=self.queue_max,
            engines={
                name: EngineState(self._engine_held[name], self.engine_slots.get(name))
                for name in sorted(names)
            },
        )

    def _engine_free(self, engine: str) -> bool:
        capacity = self.engine_slots.get(engine)
        return capacity is None or self._engine_held[engine] < capacity

    def _shares_of(self, tenant: str) -> Shares:
        return self._tenant_shares.get(tenant, self._shares) if tenant else Shares()

    def _tenant_free(self, ticket: Ticket) -> bool:
        share = self._shares_of(ticket.tenant).slots
        return not share or self._tenant_held[ticket.tenant] < share

    def _hold(self, entry: Entry) -> None:
        self._fence += 1
        entry.fence = self._fence
        self.held += 1
        self._user_held[_user(entry.ticket)] += 1
        self._engine_held[entry.ticket.engine] += 1
        self._tenant_held[entry.ticket.tenant] += 1

    def _queue(self, entry: Entry) -> None:
        ticket = entry.ticket
        self._check_room(ticket)
        where = ticket.engine, ticket.tenant
        lane = self._lanes.get(where)
        if lane is None:
            lane = self._lanes[where] = _Lane(self._round)
        turn = lane.turns.enter(ticket.user, holds=self._user_held[_user(ticket)] > 0)
        self._number += 1
        entry.place = turn * NUMBERS + self._number
        self.waiting += 1
        self._tenant_waiting[ticket.tenant] += 1
        self._user_waiting[_user(ticket)] += 1
        lane.add(entry)
        if lane.first() == entry.place:
            self._push_head(*where)

    def _check_room(self, ticket: Ticket) -> None:
        """Let a ticket into the queue that has room for it.

        A user may have no more waiting than the queue has free places, so that nobody alone fills
        it, nor a tenant's share of it.

        Raises:
            QueueFullError: It has none.
        """
        if self.waiting >= self.queue_max:
            raise QueueFullError(f"the queue is full: {self.waiting} of {self.queue_max} runs wait")
        share = self._shares_of(ticket.tenant).queue
        of_tenant = self._tenant_waiting[ticket.tenant]
        if share and of_tenant >= share:
            raise QueueFullError(f"your share of the queue is full: {share} of your runs wait")
        own = self._user_waiting[_user(ticket)] if ticket.user else 0
        free = min(self.queue_max - self.waiting, share - of_tenant if share else self.queue_max)
        if own and own >= free:
            raise QueueFullError(
                f"{own} of your runs wait already, and the free places are kept for others"
            )

    def _unqueue(self, entry: Entry) -> None:
        self.waiting -= 1
        _decrease(self._user_waiting, _user(entry.ticket))
        _decrease(self._tenant_waiting, entry.ticket.tenant)
        where = entry.ticket.engine, entry.ticket.tenant
        lane = self._lanes[where]
        was_first = lane.first() == entry.place
        del lane.entries[entry.place]
        if not lane.entries:
            del self._lanes[where]
        elif was_first:
            self._push_head(*where)

    def _push_head(self, engine: str, tenant: str) -> None:
        lane = self._lanes.get((engine, tenant))
        if lane:
            heappush(self._heads.setdefault(engine, []), (lane.first(), tenant))

    def _push_heads(self, tenant: str) -> None:
        """A tenant is below its share again: its lanes on all engines may be granted."""
        for engine in self._heads:
            self._push_head(engine, tenant)

    def _fresh_heap(self, engine: str) -> list[tuple[int, str]]:
        """Return the engine's heap with a grantable waiter on top, or empty.

        A tenant at its share is dropped too: the release that frees it pushes it again.
        """
        heap = self._heads[engine]
        while heap:
            place, tenant = heap[0]
            lane = self._lanes.get((engine, tenant))
            entry = lane.entries.get(place) if lane else None
            if entry is not None and self._tenant_free(entry.ticket):
                return heap
            heappop(heap)
        return heap


def _user(ticket: Ticket) -> tuple[str, str]:
    return ticket.tenant, ticket.user


def _decrease(counter: Counter[K], key: K) -> None:
    """Count down, and forget the key at zero: tenants and users come and go for ever."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
