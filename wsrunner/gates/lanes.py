"""Who holds, who waits, and who is next: the in-memory gate's decisions.

Pure state: no clock, no tasks. Waiters stand in lanes, one per engine and tenant, so that a full
engine or a tenant at its share is passed over without looking at those who wait for it. (While no
tenant has a share, all tenants use one lane.) Each engine keeps a heap of its lanes' first seqs,
and a grant takes the smallest among the engines with spare capacity: O(engines + log lanes).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

from wsrunner.errors import QueueFullError
from wsrunner.gates.base import EngineState, GateState, Shares, Ticket


@dataclass(slots=True)
class Entry:
    """A ticket in the gate.

    Attributes:
        ticket: Whose entry it is.
        seq: Its place in the queue's order; 0 if it never waited.
        ahead: Tickets in the queue before it when it entered.
        fence: Its grant's number; 0 while it waits.
    """

    ticket: Ticket
    seq: int = 0
    ahead: int = 0
    fence: int = 0


class Line:
    """N slots, the engines' own capacities, the tenants' shares, and one bounded queue."""

    def __init__(
        self, slots: int, queue_max: int, engine_slots: Mapping[str, int], shares: Shares
    ) -> None:
        self.slots = slots
        self.queue_max = queue_max
        self.engine_slots = dict(engine_slots)
        self.shares = shares
        self.held = 0
        self.waiting = 0
        self._entries: dict[str, Entry] = {}
        self._seq = 0
        self._fence = 0
        self._engine_held: Counter[str] = Counter()
        self._tenant_held: Counter[str] = Counter()
        self._tenant_waiting: Counter[str] = Counter()
        self._lanes: dict[tuple[str, str], OrderedDict[int, Entry]] = {}
        # Engine -> heap of (first seq, tenant). An entry that no longer names its lane's first
        # seq is stale and dropped when it comes up. Engines are few and stay.
        self._heads: dict[str, list[tuple[int, str]]] = {}

    def enter(self, ticket: Ticket) -> Entry:
        """Grant the ticket at once if it can run now, else put it at the end of the queue.

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
            self._unqueue(entry)
            return entry
        self.held -= 1
        _decrease(self._engine_held, engine)
        _decrease(self._tenant_held, tenant)
        if tenant and self.shares.slots and self._tenant_held[tenant] == self.shares.slots - 1:
            for other in self._heads:
                self._push_head(other, tenant)
        return entry

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
            seq, tenant = self._heads[engine][0]
            entry = self._lanes[engine, tenant][seq]
            self._unqueue(entry)
            self._hold(entry)
            yield entry

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

    def _tenant_free(self, ticket: Ticket) -> bool:
        share = self.shares.slots
        return not share or not ticket.tenant or self._tenant_held[ticket.tenant] < share

    def _lane_of(self, ticket: Ticket) -> tuple[str, str]:
        return ticket.engine, ticket.tenant if self.shares.slots else ""

    def _hold(self, entry: Entry) -> None:
        self._fence += 1
        entry.fence = self._fence
        self.held += 1
        self._engine_held[entry.ticket.engine] += 1
        self._tenant_held[entry.ticket.tenant] += 1

    def _queue(self, entry: Entry) -> None:
        tenant = entry.ticket.tenant
        if self.waiting >= self.queue_max:
            raise QueueFullError(f"the queue is full: {self.waiting} of {self.queue_max} runs wait")
        if tenant and self.shares.queue and self._tenant_waiting[tenant] >= self.shares.queue:
            raise QueueFullError(
                f"your share of the queue is full: {self.shares.queue} of your runs wait"
            )
        self._seq += 1
        entry.seq = self._seq
        entry.ahead = self.waiting
        self.waiting += 1
        self._tenant_waiting[tenant] += 1
        lane = self._lanes.setdefault(self._lane_of(entry.ticket), OrderedDict())
        lane[entry.seq] = entry
        if len(lane) == 1:
            self._push_head(*self._lane_of(entry.ticket))

    def _unqueue(self, entry: Entry) -> None:
        self.waiting -= 1
        _decrease(self._tenant_waiting, entry.ticket.tenant)
        place = self._lane_of(entry.ticket)
        lane = self._lanes[place]
        was_first = next(iter(lane)) == entry.seq
        del lane[entry.seq]
        if not lane:
            del self._lanes[place]
        elif was_first:
            self._push_head(*place)

    def _push_head(self, engine: str, tenant: str) -> None:
        lane = self._lanes.get((engine, tenant))
        if lane:
            heappush(self._heads.setdefault(engine, []), (next(iter(lane)), tenant))

    def _fresh_heap(self, engine: str) -> list[tuple[int, str]]:
        """Return the engine's heap with a grantable waiter on top, or empty.

        A tenant at its share is dropped too: the release that frees it pushes it again.
        """
        heap = self._heads[engine]
        while heap:
            seq, tenant = heap[0]
            lane = self._lanes.get((engine, tenant))
            entry = lane.get(seq) if lane else None
            if entry is not None and self._tenant_free(entry.ticket):
                return heap
            heappop(heap)
        return heap


def _decrease(counter: Counter[str], key: str) -> None:
    """Count down, and forget the key at zero: tenants come and go for ever."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
