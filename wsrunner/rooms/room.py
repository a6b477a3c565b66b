"""One room, as those see it who sit in it on this replica.

Its home may be here, or on another replica: then this is a copy, which hears what the home decides.
No tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from wsrunner.errors import WsrunnerError
from wsrunner.rooms import entries
from wsrunner.rooms.entries import Entry, Order
from wsrunner.rooms.home import Home
from wsrunner.rooms.runs import RoomRuns
from wsrunner.rooms.seat import Seat
from wsrunner.rooms.state import State, text
from wsrunner.runs.job import Principal
from wsrunner.settings import Settings
from wsrunner.words import rooms as words

WORDS_MAX = 16
"""Messages that are kept as they are sent, for the others who are to hear the same."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens a room, by what it makes of who comes. Secrets."""

    own: str
    work: str
    watch: str

    def role(self, key: str) -> words.Role | None:
        """Return what a key opens; takes as long for a wrong one as for a right one."""
        given = key.encode(errors="surrogatepass")  # a header may have any bytes
        owns = hmac.compare_digest(given, self.own.encode())
        works = hmac.compare_digest(given, self.work.encode())
        watches = hmac.compare_digest(given, self.watch.encode())
        return "own" if owns else "work" if works else "watch" if watches else None


@dataclass(frozen=True, slots=True)
class Deed:
    """What is known of a room wherever it is.

    Attributes:
        id: The server's name for it.
        keys: What opens it.
        opener: Who has opened it.
        address: The address that it counts for; empty for nobody's.
    """

    id: str
    keys: Keys
    opener: Principal
    address: str = ""


class Ground(Protocol):
    """Where a room stands: what it needs of all the rooms."""

    settings: Settings
    replica: str

    def happened(self, room: Room, entry: Entry) -> None:
        """Hear of an entry that was decided here."""

    def ordered(self, room: Room, seat: Seat, order: Order) -> None:
        """Pass an order on to the room's home elsewhere, or raise."""

    def run_over(self, room_id: str, run_id: str, *, readable: bool) -> None:
        """Hear that a run of a room is over, which this replica has carried out."""


class Room:
    """A room, on one of its replicas.

    Args:
        deed: What it is.
        ground: Where it stands.

    Attributes:
        state: What it is now.
        seats: Who sits in it here, by seat.
        home: Decides what becomes of it; None where that is another replica's.
        owner: The replica where it is decided, if there are several; empty for none.
        position: Number of the last entry that it has heard, or decided, likewise.
    """

    def __init__(self, deed: Deed, ground: Ground) -> None:
        self.deed = deed
        self.owner = ""
        self.position = 0
        self.settings = ground.settings
        self.state = State()
        self.seats: dict[str, Seat] = {}
        self.home: Home | None = None
        self._ground = ground
        self._made: dict[object, bytes] = {}

    @property
    def id(self) -> str:
        """The server's name for it."""
        return self.deed.id

    @property
    def keys(self) -> Keys:
        """What opens it."""
        return self.deed.keys

    @property
    def runs(self) -> RoomRuns:
        """What was run in it."""
        return self.state.runs

    @property
    def held_bytes(self) -> int:
        """What its document takes."""
        return self.state.held_bytes

    @property
    def now(self) -> words.RoomNow:
        """What it is, as it is told."""
        return self.state.now(self.id)

    def joined(self, seat: Seat) -> words.Joined:
        """Return all there is, for somebody who is there."""
        return self.state.joined(self.id, seat.person.person)

    def asked_of(self, seat: Seat) -> words.Compact | None:
        """Return what somebody is asked for and has not answered yet."""
        asked = self.state.asked
        if asked is None or asked[0] != seat.person.person:
            return None
        return words.Compact(room=self.id, seq=asked[1])

    @staticmethod
    def now_s() -> float:
        """Return the present in monotonic seconds."""
        return asyncio.get_running_loop().time()

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

    # Whose decision it is.

    def settle(self) -> None:
        """Have it decided here what becomes of it."""
        self.home = Home(self.id, self.state, self.settings, emit=self._emit, now_s=self.now_s)

    def _emit(self, entry: Entry) -> None:
        self.hear(entry)
        self._ground.happened(self, entry)

    def order(self, seat: Seat, order: Order) -> None:
        """Have done what a seat asks for; see `Home.carry_out`."""
        if self.home is None:
            self._ground.ordered(self, seat, order)
        else:
            self.home.carry_out(self._ground.replica, seat.id, seat.person.person, order)

    # Who sits here.

    def sit(self, role: words.Role, name: str, once: str, *, watches_only: bool = False) -> Seat:
        """Let somebody take a seat: they have it once `Seat.sits` is set.

        Args:
            role: What their key makes of them.
            name: What the others call them.
            once: Their own random name: who comes back under it is who they were.
            watches_only: See `Seat`.

        Raises:
            RoomsFullError: Too many are there. Where the home is elsewhere, that is told later.
        """
        id_ = hashlib.sha256(f"{self.id}\0{once}".encode()).hexdigest()[:12]
        asked = words.Person(person=id_, name=name, role=role, number=0)
        seat = Seat(self, asked, watches_only=watches_only)
        self.seats[seat.id] = seat
        try:
            self._order_seat(seat, again=False)
        except WsrunnerError:
            del self.seats[seat.id]
            raise
        return seat

    def _order_seat(self, seat: Seat, *, again: bool) -> None:
        asked = seat.asked
        self.order(seat, entries.Sit(asked.role, asked.name, seat.watches_only, again))

    def ask_to_sit(self, seat: Seat) -> None:
        """Ask for somebody's seat once more."""
        try:
            self._order_seat(seat, again=True)
        except WsrunnerError as exc:
            self.refuse(seat, exc)
            return
        for begun in seat.begun.values():
            with contextlib.suppress(WsrunnerError):  # they may not sit there yet
                self.order(seat, begun)

    def ask_for_all(self) -> None:
        """Ask once more for the seats that its home does not know."""
        for seat in list(self.seats.values()):
            if not self._is_known(seat):
                self.ask_to_sit(seat)

    def sit_anew(self) -> None:
        """Ask for all seats once more, at another home."""
        for seat in list(self.seats.values()):
            self._sit_anew(seat)

    def _sit_anew(self, seat: Seat) -> None:
        """Ask for a seat once more; what was on its way to its home may be lost."""
        if not self._is_known(seat):
            seat.sits.clear()
        seat.tell_all()
        self.ask_to_sit(seat)

    def tell_all(self) -> None:
        """Let everybody here hear all there is."""
        for seat in self.seats.values():
            seat.tell_all()

    def refuse(self, seat: Seat, error: WsrunnerError) -> None:
        """Let a seat hear that it can't be had."""
        if seat.sits.is_set():
            return  # it is
        seat.refusal = error
        seat.sits.set()
        self.seats.pop(seat.id, None)
        if seat.has_sat:
            # It was in the room, at another home.
            seat.complain(error)
            seat.end("lost")
            seat.look()

    def leave(self, seat: Seat) -> None:
        """Let somebody go."""
        del self.seats[seat.id]
        if seat.sits.is_set() or self.home is None:
            self._order_leave(seat)
        seat.look()

    def _order_leave(self, seat: Seat) -> None:
        with contextlib.suppress(WsrunnerError):  # they sat there no more
            self.order(seat, entries.Leave())

    def _is_known(self, seat: Seat) -> bool:
        sitting = self.state.people.get(seat.person.person)
        return sitting is not None and sitting.seat == seat.id

    def end_run(self, run_id: str, *, readable: bool) -> None:
        """Hear that a run is over that was started here."""
        for seat in self.seats.values():
            seat.begun.pop(run_id, None)
        self._ground.run_over(self.id, run_id, readable=readable)

    # What has been decided.

    def replay(self, happened: Iterable[Entry]) -> None:
        """Take in all that has happened, of which some was heard before: only the last counts."""
        for entry in happened:
            self.state.apply(entry)
        self._see_people()
        self.tell_all()

    def hear(self, entry: Entry) -> None:
        """Take an entry in, and let those know who sit here."""
        self.state.apply(entry)
        match entry:
            case entries.Added(person, data):
                self._tell_update(person, data)
            case entries.Caret(person, data):
                told = words.Aware(room=self.id, person=person, base64=text(data))
                self._tell_others(person, told, len(data))
            case entries.Typing(person, run):
                self._tell_others(person, words.Typed(room=self.id, run=run, person=person), 0)
            case entries.Asked(person, seq):
                for seat in self._seats_of(person):
                    seat.tell(words.Compact(room=self.id, seq=seq), 0)
            case entries.Closed(reason):
                self._end(reason)
            case entries.Compacted():
                pass
            case _:
                self._see_people()

    def _tell_update(self, person: str, data: bytes) -> None:
        seq = self.state.seq
        told = words.Updated(room=self.id, seq=seq, person=person, base64=text(data))
        self._tell_others(person, told, len(data))
        for seat in self._seats_of(person):
            seat.tell(words.Updated(room=self.id, seq=seq, person=person), 0)

    def _tell_others(self, person: str, told: words.RoomTold, size: int) -> None:
        for seat in self.seats.values():
            if seat.person.person != person and seat.sits.is_set():
                seat.tell(told, size)

    def _seats_of(self, person: str) -> list[Seat]:
        return [
            seat
            for seat in self.seats.values()
            if seat.person.person == person and self._is_known(seat)
        ]

    def _see_people(self) -> None:
        """See who sits where by now, as what."""
        for seat in list(self.seats.values()):
            sitting = self.state.people.get(seat.person.person)
            if sitting is not None and sitting.seat == seat.id:
                changed = seat.person != sitting.person
                seat.person = sitting.person
                seat.sits.set()
                seat.has_sat = True
                seat.known_at = self.position
                if changed:
                    seat.look()
                seat.tell_change()
            elif not seat.has_sat:
                pass  # it has yet to come
            elif self.position < seat.known_at:
                pass  # this was before: a Redis that died has lost what came since
            elif sitting is not None:
                del self.seats[seat.id]
                seat.end("elsewhere")
                seat.look()
            elif self.home is None and seat.sits.is_set():
                # Its home took this replica for gone.
                self._sit_anew(seat)

    def _end(self, reason: str) -> None:
        seats, self.seats = self.seats, {}
        for seat in seats.values():
            seat.sits.set()
            seat.end(reason)
            seat.look()
