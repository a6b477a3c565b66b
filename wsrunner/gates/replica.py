"""What this process has in a shared gate: its tickets, its lease, its waiters' positions.

State without I/O: no connection, no tasks. `gates.redis` carries its requests to Redis and brings
the replies; the scripts beside this file decide. Replies come in the order of the requests, letters
about grants come at any time, and both may be lost with the connection. So the rule is: the stages
here say what must be asked again. An open request is never remembered as such; after every join the
replica asks anew for each ticket that isn't settled, which the scripts allow because they are
idempotent by ticket.
"""

from __future__ import annotations

import asyncio
import enum
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wsrunner.errors import GateUnavailableError, QueueFullError
from wsrunner.gates.base import Permit, Place, PositionListener, Ticket, retry_after_s
from wsrunner.gates.estimate import Estimate
from wsrunner.gates.positions import Positions

Reply = Sequence[str | int | list[str]]
Send = Callable[[str, Sequence[str | int], Callable[[Reply], None]], None]
"""Send a script's name, its arguments after the key, and who takes the reply."""

COUNTED_PER_BEAT = 50
RETRY_AFTER_S = 2.0


class UnlinkedError(Exception):
    """Redis doesn't let this connection speak for the replica (any more): join again."""


class Stage(enum.Enum):
    """Where a ticket is, as far as this replica knows."""

    ASKS = "no answer yet"
    WAITS = "in the queue"
    HOLDS = "holds a permit"
    ENDED = "has nothing that Redis counts"


@dataclass(eq=False, slots=True)
class Stay:
    """One ticket's stay in the gate.

    Attributes:
        ticket: Whose stay it is.
        on_position: Who hears positions.
        asked_s: When it asked, on the loop's clock.
        outcome: Gets the permit, or the error that refuses it.
        stage: How far it got.
        seq: Its place in the queue's order; 0 if it never had one, -1 if its lease took it.
        told: The last position that was told; 0 if none.
        granted_s: When it was granted, on the loop's clock.
    """

    ticket: Ticket
    on_position: PositionListener
    asked_s: float
    outcome: asyncio.Future[Permit]
    stage: Stage = Stage.ASKS
    seq: int = 0
    told: int = 0
    granted_s: float = 0.0


class Replica:
    """One process's part of the gate.

    Args:
        name: Its engine and its own name, with a space between, for `GateState`.
        declared: The configuration it was started with, by name as in the gate's hash.
        lease_s: How long Redis keeps what a silent replica has.
        beat_s: Seconds between heartbeats.
    """

    def __init__(
        self, name: str, declared: Mapping[str, int], *, lease_s: float, beat_s: float
    ) -> None:
        self.name = name
        self.declared = dict(declared)
        self.lease_us = round(lease_s * 1e6)
        # One call moves the gate's clock by at most 2 s, so that a stepped clock ends no lease;
        # with short leases by a quarter of one, which is still two heartbeats.
        self.step_us = round(min(2.0, lease_s / 4) * 1e6)
        # A new epoch waits until whoever lost its connection has noticed.
        self.settle_us = round(2 * beat_s * 1e6)
        # Redis gives a silent replica's slots away after lease_s of its own time, which a stepped
        # clock shortens by step_us. Holders stop before that; the rest is the time to kill a run.
        self.held_s = lease_s * 3 / 4
        # How long a first answer may take: a burst of a thousand takes Redis a good tenth of it.
        self.patience_s = min(2.0, max(lease_s / 4, 0.5))
        self.id = secrets.token_hex(4)
        self.waiting = 0
        self.lease_until_s = 0.0
        self._send: Send | None = None
        self._link = ""
        self._epoch = 0
        self._claiming = False
        self._stays: dict[str, Stay] = {}
        self._leaving: dict[str, tuple[Ticket, int]] = {}  # with its fence, until Redis confirms
        self._late: dict[str, int] = {}  # grants heard when the lease had run out here
        self._positions: Positions[str] = Positions()
        self._estimate = Estimate()
        self._uncounted: dict[str, None] = {}  # waiters without a position, in queue order
        # What the last heartbeat said.
        self._peers: list[str] = []
        self._config: dict[str, str] = {}
        self._slots_by_engine: dict[str, int] = {}
        self._config_version = -1
        self._cursor = 0
        self._gone = 0  # of the feed up to there: departures less arrivals before others
        self._layout = -1
        self._is_open = True
        self._told_fence = 0

    def __repr__(self) -> str:
        stages = [stay.stage.name for stay in self._stays.values()]
        counts = ", ".join(f"{stages.count(name)} {name.lower()}" for name in sorted(set(stages)))
        return f"<Replica {self.name} {self.id}: {counts or 'empty'}; {len(self._leaving)} leaving>"

    @property
    def identity(self) -> tuple[str, str]:
        """The replica's id and the link that may speak for it."""
        return self.id, self._link

    # What the holders of tickets do.

    def ask(self, stay: Stay) -> None:
        """Ask for admission.

        Raises:
            ValueError: A ticket of that id is here already, or a name holds a line break.
        """
        ticket = stay.ticket
        if ticket.id in self._stays:
            raise ValueError(f"ticket {ticket.id!r} is in the gate already")
        if "\n" in ticket.id + ticket.tenant + ticket.engine + ticket.user:
            raise ValueError(f"a ticket's names must not hold a line break: {ticket!r}")
        self._stays[ticket.id] = stay
        self._enter(stay)

    def end(self, stay: Stay) -> None:
        """End a stay, whatever its stage; a second call does nothing. Never blocks."""
        ticket_id = stay.ticket.id
        if self._stays.get(ticket_id) is not stay:
            return
        del self._stays[ticket_id]
        self._forget_place(stay)
        self._late.pop(ticket_id, None)
        if stay.stage is not Stage.ENDED:
            # 0 names whatever Redis made of it: a grant may be on its way.
            held = stay.stage is Stage.HOLDS
            if held:
                self._estimate.note(asyncio.get_running_loop().time() - stay.granted_s)
            self._leave(stay.ticket, stay.outcome.result().fence if held else 0)
        stay.stage = Stage.ENDED

    def watch(self, now_s: float) -> None:
        """Enforce what time alone decides; call it with every heartbeat, linked or not."""
        for stay in self._stays.values():
            if stay.stage is Stage.HOLDS and now_s >= self.lease_until_s:
                stay.outcome.result().lost.set()
            elif (
                stay.stage is Stage.ASKS
                and stay.seq == 0
                and now_s - stay.asked_s > self.patience_s
                and not stay.outcome.done()
            ):
                stay.outcome.set_exception(unavailable(f"no answer for {self.patience_s:g} s"))

    def close(self) -> None:
        """The gate is closed and has given everything back: nobody holds or waits any more."""
        for stay in self._stays.values():
            if stay.stage is Stage.HOLDS:
                stay.outcome.result().lost.set()
            elif not stay.outcome.done():
                stay.outcome.set_exception(unavailable("this server's gate is closed"))
            stay.stage = Stage.ENDED
        self._leaving.clear()
        self._send = None

    # The connection.

    def join_request(self, link: str, run_id: str) -> list[str | int]:
        """Return the arguments of ``join.lua``."""
        return [
            self.id,
            link,
            run_id,
            self.name,
            self.lease_us,
            self.step_us,
            self.settle_us,
            self._epoch,
            len(self.declared),
            *(part for pair in self.declared.items() for part in pair),
            len(self._config),
            *(part for pair in self._config.items() for part in pair),
            *(peer for peer in self._peers if peer != self.id),
        ]

    def joined(self, reply: Reply, link: str, send: Send, sent_s: float, now_s: float) -> None:
        """Take up after a join: ask again for whatever is not settled.

        Args:
            reply: What ``join.lua`` returned.
            link: The link that was registered.
            send: Sends over the new connection.
            sent_s: When the join was sent: the lease runs from there.
            now_s: Now.

        Raises:
            UnlinkedError: The lease ended meanwhile. Permits are lost; the replica has a new id,
                under which its waiters ask again after the next join.
        """
        verdict, epoch, moved, gone = reply[0], *map(_int, reply[1:])
        self.watch(now_s)  # a permit past its deadline is lost before it could be claimed
        if verdict == "gone":
            self._start_over()
            raise UnlinkedError("the lease ended")
        self._send, self._link, self._epoch = send, link, epoch
        if verdict == "kept":
            for ticket, fence in list(self._leaving.values()):
                self._leave(ticket, fence)
            for stay in list(self._stays.values()):
                if stay.stage is Stage.ASKS:
                    self._enter(stay)
            self._renewed(sent_s)
            return
        self._claiming = verdict == "claim"
        self._leaving.clear()
        self._late.clear()
        self._is_open = not self._claiming
        self._cursor, self._gone, self._told_fence, self._layout = moved, gone, 0, -1
        self._recount()
        for stay in sorted(self._stays.values(), key=_claims_first):
            if stay.stage is Stage.HOLDS and stay.outcome.result().lost.is_set():
                stay.stage = Stage.ENDED
            elif stay.stage is not Stage.ENDED:
                self._enter(stay)
        self._renewed(sent_s)

    def cut(self) -> None:
        """The connection is gone; nothing can be sent until the next join."""
        self._send = None

    def heard(self, letter: str) -> None:
        """Take a published letter: fence and ticket, in turns, a line each."""
        lines = letter.split("\n")
        for fence, ticket_id in zip(lines[::2], lines[1::2], strict=True):
            self._granted(ticket_id, int(fence))

    def beat_request(self) -> list[str | int]:
        """Return the arguments of ``beat.lua``."""
        return [
            self.id,
            self._link,
            self.lease_us,
            self.step_us,
            self._cursor,
            self._told_fence,
            self._config_version,
            # The claims went before this beat over the same connection: they are in by then.
            "settled" if self._claiming else "",
            *(list(self._uncounted)[:COUNTED_PER_BEAT] if self._is_open else ()),
        ]

    def beaten(self, reply: Reply, sent_s: float) -> bool:
        """Take the reply to a heartbeat that was sent at `sent_s`.

        Returns:
            Whether another beat should follow at once.

        Raises:
            UnlinkedError: Redis doesn't know this link, or the lease ended.
        """
        _check_linked(reply)
        _, more, waiting, is_open, layout, cursor, *lists = reply
        feed, grants, counted, peers, version, config = lists
        assert isinstance(feed, list)
        assert isinstance(peers, list)
        self.waiting, self._peers, self._claiming = _int(waiting), peers, False
        self._renewed(sent_s)
        if config:
            self._config = dict(_pairs(config))
            self._slots_by_engine.clear()
        self._config_version = _int(version)
        for seq in map(int, feed):
            change = 1 if seq > 0 else -1
            self._positions.note(abs(seq), change)
            self._gone += change
        self._cursor = _int(cursor)
        for fence, ticket_id in _pairs(grants):
            self._told_fence = int(fence)
            self._granted(ticket_id, int(fence))
        for ticket_id, ahead in _pairs(counted):
            self._counted(ticket_id, int(ahead))
        self._is_open = bool(is_open)
        if self._is_open and layout != self._layout:
            self._layout = _int(layout)
            self._recount()
        if not more:
            for ticket_id, position in self._positions.due():
                if position != self._stays[ticket_id].told:
                    self._tell(self._stays[ticket_id], position)
        return bool(more) or (self._is_open and bool(self._uncounted))

    # Inside.

    def _renewed(self, sent_s: float) -> None:
        self.lease_until_s = sent_s + self.held_s
        late, self._late = self._late, {}
        for ticket_id, fence in late.items():
            self._granted(ticket_id, fence)

    def _start_over(self) -> None:
        for stay in self._stays.values():
            if stay.stage is Stage.HOLDS:
                stay.outcome.result().lost.set()
                stay.stage = Stage.ENDED
            elif stay.stage is Stage.WAITS:
                self._forget_place(stay)
                stay.stage, stay.seq = Stage.ASKS, -1
        self._leaving.clear()
        self._late.clear()
        self._send = None
        self.id = secrets.token_hex(4)
        self._epoch = 0

    def _enter(self, stay: Stay) -> None:
        if self._send is not None:
            ticket = stay.ticket
            fence = stay.outcome.result().fence if stay.stage is Stage.HOLDS else 0
            self._send(
                "enter",
                [
                    *(self.id, self._link, ticket.id, ticket.engine, ticket.tenant, ticket.user),
                    *(stay.seq, fence),
                ],
                lambda reply: self._entered(stay, reply),
            )

    def _entered(self, stay: Stay, reply: Reply) -> None:
        _check_linked(reply)
        if stay.stage is Stage.ENDED:
            return
        match reply:
            case ["held", fence]:
                self._granted(stay.ticket.id, _int(fence))
            case ["lost"]:
                stay.outcome.result().lost.set()
                stay.stage = Stage.ENDED
            case ["full", whose, limit, queue_max, rate]:
                stay.stage = Stage.ENDED
                if not stay.outcome.done():
                    retry_s = retry_after_s(_int(queue_max), float(str(rate)))
                    message = _FULL[str(whose)].format(limit=limit, queue_max=queue_max)
                    stay.outcome.set_exception(QueueFullError(message, retry_after_s=retry_s))
            # A grant may be heard before the reply that says it waits.
            case ["waits", seq, *counts] if stay.stage is not Stage.HOLDS:
                self._queued(stay, _int(seq), *map(_int, counts))

    def _queued(self, stay: Stay, seq: int, ordinal: int, waiting: int, ahead: int) -> None:
        stay.stage, stay.seq = Stage.WAITS, seq
        self.waiting = waiting
        if ordinal >= 0:
            # The feed runs behind the queue: what it has yet to bring has been counted already.
            told = stay.told or ahead + 1
            self._positions.enter(stay.ticket.id, seq, ordinal - self._gone, told)
        else:
            self._uncounted[stay.ticket.id] = None
        if not stay.told:
            self._tell(stay, ahead + 1 if ahead >= 0 else waiting)

    def _counted(self, ticket_id: str, ahead: int) -> None:
        stay = self._stays.get(ticket_id)
        if stay is not None and ticket_id in self._uncounted:
            del self._uncounted[ticket_id]
            position = self._positions.enter(ticket_id, stay.seq, ahead, stay.told or None)
            if position != stay.told:
                self._tell(stay, position)

    def _tell(self, stay: Stay, position: int) -> None:
        stay.told = position
        eta_s = self._estimate.eta_s(position, self._slots_of(stay.ticket.engine))
        stay.on_position(Place(position, max(self.waiting, position), eta_s))

    def _slots_of(self, engine: str) -> int:
        found = self._slots_by_engine.get(engine)
        if found is None:
            slots = int(self._config.get("slots", 0))
            found = min(slots, int(self._config.get(f"cap:{engine}", slots)))
            self._slots_by_engine[engine] = found
        return found

    def _granted(self, ticket_id: str, fence: int) -> None:
        stay = self._stays.get(ticket_id)
        # A done outcome was cancelled or refused: `end` gives the slot back.
        if stay is None or stay.stage not in {Stage.ASKS, Stage.WAITS} or stay.outcome.done():
            return
        now_s = asyncio.get_running_loop().time()
        if now_s >= self.lease_until_s:
            # This process stood still, and the slot may have been given to somebody else since.
            # The next heartbeat's reply tells.
            self._late[ticket_id] = fence
            return
        self._forget_place(stay)
        stay.stage = Stage.HOLDS
        stay.granted_s = now_s
        waited_s = now_s - stay.asked_s if stay.told else 0.0
        stay.outcome.set_result(Permit(stay.ticket, fence, waited_s=waited_s))

    def _leave(self, ticket: Ticket, fence: int) -> None:
        self._leaving[ticket.id] = ticket, fence
        if self._send is not None:
            self._send(
                "leave",
                [
                    *(self.id, self._link, ticket.id, fence),
                    *(ticket.engine, ticket.tenant, ticket.user),
                ],
                lambda reply: self._left(ticket.id, reply),
            )

    def _left(self, ticket_id: str, reply: Reply) -> None:
        _check_linked(reply)
        self._leaving.pop(ticket_id, None)

    def _forget_place(self, stay: Stay) -> None:
        self._positions.leave(stay.ticket.id)
        self._uncounted.pop(stay.ticket.id, None)

    def _recount(self) -> None:
        """Let the next heartbeats count every waiter's position anew."""
        self._positions = Positions()
        waiters = [stay for stay in self._stays.values() if stay.stage is Stage.WAITS]
        waiters.sort(key=lambda stay: stay.seq)
        self._uncounted = {stay.ticket.id: None for stay in waiters}


_FULL = {
    "queue": "the queue is full: {limit} of {queue_max} runs wait",
    "tenant": "your share of the queue is full: {limit} of your runs wait",
    "user": "{limit} of your runs wait already, and the free places are kept for others",
}


def unavailable(reason: str) -> GateUnavailableError:
    """Return the error for a gate that can't be reached."""
    return GateUnavailableError(f"the gate is unavailable: {reason}", retry_after_s=RETRY_AFTER_S)


def _claims_first(stay: Stay) -> tuple[bool, bool, int]:
    """Sort what runs before what waits, in queue order, before what asks for the first time."""
    return stay.stage is not Stage.HOLDS, stay.stage is not Stage.WAITS, stay.seq


def _check_linked(reply: Reply) -> None:
    if reply[0] == "unlinked":
        raise UnlinkedError("this connection may not speak for the replica")


def _int(part: str | int | list[str]) -> int:
    assert not isinstance(part, list)
    return int(part)


def _pairs(flat: str | int | list[str]) -> list[tuple[str, str]]:
    assert isinstance(flat, list)
    return list(zip(flat[::2], flat[1::2], strict=True))
