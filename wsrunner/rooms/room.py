"""One room: who is there, its document as a log of opaque updates, and what they run.

Owns the bounds on what a room holds. No tasks.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from wsrunner.errors import (
    BadMessageError,
    NotAllowedError,
    RoomsFullError,
    TooLargeError,
)
from wsrunner.rooms.runs import RoomRuns
from wsrunner.rooms.seat import UPDATE_COST_BYTES, Seat
from wsrunner.settings import Settings
from wsrunner.units import KIB
from wsrunner.words import rooms as words

UPDATE_MAX_BYTES = 64 * KIB
AWARENESS_MAX_BYTES = 4 * KIB
COMPACT_AFTER = 200
"""Updates after which somebody is asked for one that stands for all."""
COMPACT_SHARE = 4
"""Likewise after this part of what the document may take."""
WORDS_MAX = 16
"""Messages that are kept as they are sent, for the others who are to hear the same."""
GONE_MAX = 200
"""People who have left and are known still, if they come back."""
ANSWER_S = 10.0
"""How long who is asked may take before another one is, where the document is full."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens a room, by what it makes of who comes. Secrets."""

    own: str
    work: str
    watch: str

    def role(self, key: str) -> words.Role | None:
        """Return what a key opens; takes as long for a wrong one as for a right one."""
        given = key.encode()
        owns = hmac.compare_digest(given, self.own.encode())
        works = hmac.compare_digest(given, self.work.encode())
        watches = hmac.compare_digest(given, self.watch.encode())
        return "own" if owns else "work" if works else "watch" if watches else None


class Room:
    """A room of this process.

    Args:
        id: The server's name for it.
        keys: What opens it.
        settings: The server's.
        on_empty: Called when the last one has left.
        on_close: Called once, when it is over.

    Attributes:
        seats: Who is there, by person.
        runs: What they run.
    """

    def __init__(
        self,
        id: str,  # noqa: A002
        keys: Keys,
        settings: Settings,
        *,
        on_empty: Callable[[Room], None],
        on_close: Callable[[Room], None],
    ) -> None:
        self.id = id
        self.keys = keys
        self.settings = settings
        self.seats: dict[str, Seat] = {}
        self._gone: dict[str, words.Person] = {}
        self._made: dict[object, bytes] = {}
        self.runs = RoomRuns()
        self._on_empty = on_empty
        self._on_close = on_close
        self._newcomers: words.Granted = "work"
        self._awareness: dict[str, bytes] = {}
        self._log: list[tuple[int, bytes]] = []
        self._seq = 0
        self._log_bytes = 0
        self._since_compact = 0
        self._since_compact_bytes = 0
        self._asked: tuple[str, int] | None = None
        self._asked_at_s = 0.0

    @property
    def _limit_bytes(self) -> int:
        return self.settings.room_kb * KIB

    @property
    def held_bytes(self) -> int:
        """What its document takes."""
        return self._log_bytes

    @property
    def now(self) -> words.RoomNow:
        """What it is."""
        people = sorted((seat.person for seat in self.seats.values()), key=lambda each: each.number)
        return words.RoomNow(
            room=self.id, people=people, newcomers=self._newcomers, runs=self.runs.now
        )

    def once_made(self, key: object, make: Callable[[], bytes]) -> bytes:
        """Return a message as it is sent, made once for all who hear it at about the same time.

        Args:
            key: What tells it from others.
            make: Makes it.
        """
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= WORDS_MAX:
                self._made.clear()
            found = self._made[key] = make()
        return found

    def joined(self, seat: Seat) -> words.Joined:
        """Return all there is, for somebody who is there."""
        return words.Joined(
            room=self.id,
            you=seat.person.person,
            now=self.now,
            seq=self._seq,
            updates=[_text(data) for _, data in self._log],
            awareness={person: _text(data) for person, data in self._awareness.items()},
        )

    def sit(self, role: words.Role, name: str, once: str, *, watches_only: bool = False) -> Seat:
        """Let somebody in; who comes back under the same `once` is who they were.

        Raises:
            RoomsFullError: Too many are there.
        """
        id_ = hashlib.sha256(f"{self.id}\0{once}".encode()).hexdigest()[:12]
        before = self.seats.get(id_)
        if before is None and len(self.seats) >= self.settings.room_people:
            raise RoomsFullError(
                f"{len(self.seats)} people are in room {self.id}; the limit is "
                f"{self.settings.room_people} people"
            )
        if watches_only:
            role = "watch"
        elif role == "work":
            role = self._newcomers
        taken = {seat.person.number for seat in self.seats.values()}
        number = next(number for number in range(len(taken) + 1) if number not in taken)
        person = words.Person(person=id_, name=name, role=role, number=number)
        kept = self._gone.pop(id_, None) if before is None else before.person
        if kept is not None:
            # Whose right was taken does not get it back by leaving and coming again.
            keep = "own" if role == "own" else kept.role if kept.role != "own" else role
            person = msgspec.structs.replace(person, role=keep, hand=kept.hand)
        if before is not None:
            person = msgspec.structs.replace(person, number=before.person.number)
            before.end("elsewhere")
        seat = self.seats[id_] = Seat(self, person, watches_only=watches_only)
        if before is not None:
            _let_look(before)
        if len(self._log) > COMPACT_AFTER:
            self._ask_if_nobody_is()
        self._tell_change()
        return seat

    def left(self, seat: Seat) -> None:
        """Hear that somebody has gone."""
        id_ = seat.person.person
        if self.seats.get(id_) is not seat:
            return
        del self.seats[id_]
        self._gone[id_] = seat.person
        if len(self._gone) > GONE_MAX:
            del self._gone[next(iter(self._gone))]
        _let_look(seat)
        self._awareness.pop(id_, None)
        if self._asked is not None and self._asked[0] == id_:
            self._ask_to_compact()
        self._tell_change()
        if not self.seats:
            self._on_empty(self)

    def add(self, seat: Seat, data: bytes) -> None:
        """See `Seat.update`."""
        if len(data) > UPDATE_MAX_BYTES:
            raise TooLargeError(
                f"an update of {len(data)} bytes; the limit is {UPDATE_MAX_BYTES} bytes",
                path="$.base64",
            )
        try:
            self._check_fits(self._log_bytes, data)
        except TooLargeError:
            self._ask_if_nobody_is()
            raise
        self._seq += 1
        self._log.append((self._seq, data))
        self._log_bytes += len(data) + UPDATE_COST_BYTES
        self._since_compact += 1
        self._since_compact_bytes += len(data) + UPDATE_COST_BYTES
        person = seat.person.person
        told = words.Updated(room=self.id, seq=self._seq, person=person, base64=_text(data))
        for each in self.seats.values():
            if each is not seat:
                each.tell(told, len(data))
        seat.tell(words.Updated(room=self.id, seq=self._seq, person=person), 0)
        share = self._limit_bytes // COMPACT_SHARE
        if self._since_compact >= COMPACT_AFTER or self._since_compact_bytes >= share:
            self._ask_to_compact()

    def compact(self, seat: Seat, data: bytes, replaces: int) -> None:
        """See `Seat.update`."""
        if self._asked != (seat.person.person, replaces):
            raise NotAllowedError(
                f"update {replaces} is not what this client was asked to replace in room {self.id}"
            )
        rest = [(seq, each) for seq, each in self._log if seq > replaces]
        self._check_fits(sum(len(each) + UPDATE_COST_BYTES for _, each in rest), data)
        self._asked = None
        self._log = [(replaces, data), *rest]
        self._log_bytes = sum(len(each) + UPDATE_COST_BYTES for _, each in self._log)
        self._since_compact = len(rest)
        self._since_compact_bytes = self._log_bytes - len(data) - UPDATE_COST_BYTES

    def _check_fits(self, held_bytes: int, data: bytes) -> None:
        limit = self._limit_bytes
        if held_bytes + len(data) + UPDATE_COST_BYTES > limit:
            raise TooLargeError(
                f"the document of room {self.id} would take {held_bytes + len(data)} bytes; the "
                f"limit is {limit} bytes",
                path="$.base64",
            )

    def asked_of(self, seat: Seat) -> words.Compact | None:
        """Return what somebody is asked for and has not answered yet."""
        if self._asked is None or self._asked[0] != seat.person.person:
            return None
        return words.Compact(room=self.id, seq=self._asked[1])

    def _ask_if_nobody_is(self) -> None:
        """Ask, unless somebody has been asked and may answer yet."""
        if self._asked is None or self.now_s() - self._asked_at_s > ANSWER_S:
            self._ask_to_compact()

    @staticmethod
    def now_s() -> float:
        """Return the present in monotonic seconds."""
        return asyncio.get_running_loop().time()

    def _ask_to_compact(self) -> None:
        """Ask somebody who works, an owner first, for an update that stands for all."""
        able = [
            seat
            for seat in self.seats.values()
            if seat.person.role != "watch" and not seat.watches_only
        ]
        before = self._asked[0] if self._asked else ""
        chosen = min(
            able,
            key=lambda each: (each.person.person == before, each.person.role != "own"),
            default=None,
        )
        self._asked = None
        # Who does not answer is asked no more while there are others.
        self._since_compact = self._since_compact_bytes = 0
        if chosen is not None:
            self._asked = (chosen.person.person, self._seq)
            self._asked_at_s = self.now_s()
            chosen.tell(words.Compact(room=self.id, seq=self._seq), 0)

    def note_awareness(self, seat: Seat, data: bytes) -> None:
        """See `Seat.awareness`."""
        if len(data) > AWARENESS_MAX_BYTES:
            raise TooLargeError(
                f"{len(data)} bytes of awareness; the limit is {AWARENESS_MAX_BYTES} bytes",
                path="$.base64",
            )
        person = seat.person.person
        self._awareness[person] = data
        told = words.Aware(room=self.id, person=person, base64=_text(data))
        for each in self.seats.values():
            if each is not seat:
                each.tell(told, len(data))

    def grant(self, person: str | None, role: words.Granted) -> None:
        """See `Seat.grant`."""
        if person is not None:
            if person not in self.seats or self.seats[person].person.role == "own":
                raise BadMessageError(
                    f"nobody of room {self.id} whose role can be changed is {person[:80]!r}",
                    path="$.person",
                )
            self.change(person, role=role)
            return
        self._newcomers = role
        for id_, seat in self.seats.items():
            if seat.person.role != "own":
                self.change(id_, role=role)
        for id_, gone in self._gone.items():
            if gone.role != "own":
                self._gone[id_] = msgspec.structs.replace(gone, role=role)
        self._tell_change()

    def change(self, person: str, **fields: object) -> None:
        """Change what is known of somebody who is there."""
        seat = self.seats.get(person)
        if seat is not None:
            seat.person = msgspec.structs.replace(seat.person, **fields)
            _let_look(seat)
            self._tell_change()

    def begin_run(self, seat: Seat, run_id: str, language: str) -> None:
        """Tell of a run that somebody has started here."""
        who = seat.person
        self.runs.add(
            words.RoomRun(run=run_id, person=who.person, name=who.name, language=language)
        )
        self._tell_change()

    def end_run(self, run_id: str, *, readable: bool) -> None:
        """Hear that a run is over, and whether what it printed can be read still."""
        if readable:
            self.runs.over(run_id)
        else:
            self.runs.forget(run_id)
        self._tell_change()

    def note_typed(self, seat: Seat, run_id: str) -> None:
        """See `Seat.typed`."""
        told = words.Typed(room=self.id, run=run_id, person=seat.person.person)
        for each in self.seats.values():
            if each is not seat:
                each.tell(told, 0)

    def close(self, reason: str) -> None:
        """End it for everybody."""
        self._on_close(self)
        seats, self.seats = self.seats, {}
        for seat in seats.values():
            seat.end(reason)
            _let_look(seat)

    def _tell_change(self) -> None:
        for seat in self.seats.values():
            seat.tell_change()


def _let_look(seat: Seat) -> None:
    for listener in list(seat.listeners):
        listener()


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")
