"""Decides what becomes of one room: what is asked of it by seats, wherever they are.

A room has one home at a time, on one replica. What it decides are entries, which all apply. Owns
the bounds on what a room holds. No tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import msgspec

from wsrunner.errors import (
    BadMessageError,
    NoSuchRoomError,
    NotAllowedError,
    RoomsFullError,
    TooLargeError,
)
from wsrunner.rooms import entries
from wsrunner.rooms.entries import Entry, Order, RunThere, Sitting
from wsrunner.rooms.state import UPDATE_COST_BYTES, State
from wsrunner.settings import Settings
from wsrunner.units import KIB
from wsrunner.words import rooms as words

COMPACT_AFTER = 200
"""Updates after which somebody is asked for one that stands for all."""
COMPACT_SHARE = 4
"""Likewise after this part of what the document may take."""
ANSWER_S = 10.0
"""How long who is asked may take before another one is, where the document is full."""


class Home:
    """What decides for one room.

    Args:
        id: The room's.
        state: What it is; this changes it by `emit` alone.
        settings: The server's.
        emit: Has an entry applied, everywhere.
        now_s: A clock.
    """

    def __init__(
        self,
        id: str,  # noqa: A002
        state: State,
        settings: Settings,
        *,
        emit: Callable[[Entry], None],
        now_s: Callable[[], float],
    ) -> None:
        self._id = id
        self._state = state
        self._settings = settings
        self._emit = emit
        self._now_s = now_s
        self._since_compact = len(state.log)
        self._since_compact_bytes = 0
        self._asked_at_s = now_s()

    def carry_out(self, replica: str, seat: str, person: str, order: Order) -> None:
        """Do what a seat asks for.

        Args:
            replica: Where the seat is.
            seat: Its id.
            person: Whose it is.
            order: What to do.

        Raises:
            NoSuchRoomError: They sit there no more.
            NotAllowedError: Their role is another.
            WsrunnerError: See the orders.
        """
        if isinstance(order, entries.Sit):
            before = self._state.people.get(person)
            if before is None or (before.seat != seat and not order.again):
                self._sit(Sitting(_newcomer(person, order), seat, replica, order.watches_only))
            return
        sitting = self._state.people.get(person)
        if sitting is None or sitting.seat != seat:
            raise NoSuchRoomError(f"this client has left room {self._id}", path="$.id")
        self._carry_out(sitting, order)

    def _carry_out(self, sitting: Sitting, order: Order) -> None:
        who = sitting.person
        match order:
            case entries.Leave():
                self.part(sitting)
            case entries.Update(data, None):
                self._check_role(sitting, "work", "edit")
                self._add(who.person, data)
            case entries.Update(data, int(replaces)):
                self._check_role(sitting, "work", "edit")
                self._compact(who.person, data, replaces)
            case entries.Awareness(data):
                self._emit(entries.Caret(who.person, data))
            case entries.Hand(up):
                self._emit(entries.Changed(msgspec.structs.replace(who, hand=up)))
            case entries.Grant(person, role):
                self._check_role(sitting, "own", "grant or take rights")
                self._grant(person, role)
            case entries.Begin(run, language) if run not in self._state.runs:
                told = words.RoomRun(run=run, person=who.person, name=who.name, language=language)
                self._emit(entries.Began(RunThere(told, sitting.replica)))
            case entries.Type(run):
                self._emit(entries.Typing(who.person, run))
            case entries.Close():
                self._check_role(sitting, "own", "close it")
                self.close("closed")

    def part(self, sitting: Sitting) -> None:
        """Let somebody be gone."""
        id_ = sitting.person.person
        self._emit(entries.Went(id_, sitting.seat))
        asked = self._state.asked
        if asked is not None and asked[0] == id_:
            self._ask_to_compact()

    def lose(self, replica: str, but: Container[str] = ()) -> None:
        """Let those be gone who sit on a replica, but for some seats."""
        for sitting in list(self._state.people.values()):
            if sitting.replica == replica and sitting.seat not in but:
                self.part(sitting)

    def lose_runs(self, replica: str) -> None:
        """Hear that the runs are over that a replica has carried out: it is gone."""
        for each in self._state.runs.there:
            if each.replica == replica and not each.run.over:
                self.end_run(each.run.run, readable=True)

    def end_run(self, run_id: str, *, readable: bool) -> None:
        """Hear that a run is over, and whether what it printed can be read still. Idempotent."""
        runs = self._state.runs
        if run_id in runs and not (readable and runs.is_over(run_id)):
            self._emit(entries.Ended(run_id, readable))

    def close(self, reason: str) -> None:
        """End the room for everybody."""
        self._emit(entries.Closed(reason))

    # People.

    def _sit(self, sitting: Sitting) -> None:
        """Let somebody in; who comes back under the same name is who they were.

        Raises:
            RoomsFullError: Too many are there.
        """
        state, person = self._state, sitting.person
        before = state.people.get(person.person)
        if before is None and len(state.people) >= self._settings.room_people:
            raise RoomsFullError(
                f"{len(state.people)} people are in room {self._id}; the limit is "
                f"{self._settings.room_people} people"
            )
        role = person.role
        if sitting.watches_only:
            role = "watch"
        elif role == "work":
            role = state.newcomers
        kept = state.gone.get(person.person) if before is None else before.person
        hand = False
        if kept is not None:
            # Whose right was taken does not get it back by leaving and coming again.
            role = "own" if role == "own" else kept.role if kept.role != "own" else role
            hand = kept.hand
        number = _free_number(state) if before is None else before.person.number
        person = msgspec.structs.replace(person, role=role, hand=hand, number=number)
        self._emit(entries.Came(msgspec.structs.replace(sitting, person=person)))
        if len(state.log) > COMPACT_AFTER:
            self._ask_if_nobody_is()

    def _grant(self, person: str | None, role: words.Granted) -> None:
        if person is None:
            self._emit(entries.Newcomers(role))
            return
        found = self._state.people.get(person)
        if found is None or found.person.role == "own":
            raise BadMessageError(
                f"nobody of room {self._id} whose role can be changed is {person[:80]!r}",
                path="$.person",
            )
        self._emit(entries.Changed(msgspec.structs.replace(found.person, role=role)))

    def _check_role(self, sitting: Sitting, role: words.Role, what: str) -> None:
        if sitting.watches_only or sitting.person.role not in (role, "own"):
            raise NotAllowedError(f"in room {self._id} only who may {role} can {what}")

    # The document.

    @property
    def _limit_bytes(self) -> int:
        return self._settings.room_kb * KIB

    def _add(self, person: str, data: bytes) -> None:
        try:
            self._check_fits(self._state.held_bytes, data)
        except TooLargeError:
            self._ask_if_nobody_is()
            raise
        self._since_compact += 1
        self._since_compact_bytes += len(data) + UPDATE_COST_BYTES
        self._emit(entries.Added(person, data))
        share = self._limit_bytes // COMPACT_SHARE
        if self._since_compact >= COMPACT_AFTER or self._since_compact_bytes >= share:
            self._ask_to_compact()

    def _compact(self, person: str, data: bytes, replaces: int) -> None:
        state = self._state
        if state.asked != (person, replaces):
            raise NotAllowedError(
                f"update {replaces} is not what this client was asked to replace in room {self._id}"
            )
        rest = state.log_after(replaces)
        rest_bytes = sum(len(each) + UPDATE_COST_BYTES for _, each in rest)
        self._check_fits(rest_bytes, data)
        self._since_compact, self._since_compact_bytes = len(rest), rest_bytes
        self._emit(entries.Compacted(replaces, data))

    def _check_fits(self, held_bytes: int, data: bytes) -> None:
        limit = self._limit_bytes
        if held_bytes + len(data) + UPDATE_COST_BYTES > limit:
            raise TooLargeError(
                f"the document of room {self._id} would take {held_bytes + len(data)} bytes; the "
                f"limit is {limit} bytes",
                path="$.base64",
            )

    def _ask_if_nobody_is(self) -> None:
        """Ask, unless somebody has been asked and may answer yet."""
        if self._state.asked is None or self._now_s() - self._asked_at_s > ANSWER_S:
            self._ask_to_compact()

    def _ask_to_compact(self) -> None:
        """Ask somebody who works, an owner first, for an update that stands for all."""
        state = self._state
        able = [
            each
            for each in state.people.values()
            if each.person.role != "watch" and not each.watches_only
        ]
        before = state.asked[0] if state.asked else ""
        chosen = min(
            (each.person for each in able),
            key=lambda each: (each.person == before, each.role != "own"),
            default=None,
        )
        # Who does not answer is asked no more while there are others.
        self._since_compact = self._since_compact_bytes = 0
        self._asked_at_s = self._now_s()
        self._emit(entries.Asked("" if chosen is None else chosen.person, state.seq))


def _newcomer(person: str, order: entries.Sit) -> words.Person:
    return words.Person(person=person, name=order.name, role=order.role, number=0)


def _free_number(state: State) -> int:
    taken = {each.person.number for each in state.people.values()}
    return next(number for number in range(len(taken) + 1) if number not in taken)
