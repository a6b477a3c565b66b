"""Rooms between replicas: those whose home is here are published, those of others followed.

Owns the tasks. `store` has the commands, `writer` what goes out, `visitors` the seats of elsewhere,
`moves` whose home is where.

::

    Link
    ├── write     letters and entries out, one batch after the other; see `writer`
    ├── _read     letters to this replica, and entries of the rooms that it follows
    └── _beat     tells homes who sits here; takes over the rooms whose homes are gone

While Redis is away rooms go on for those who are on their home's replica; what happens is written
afterwards. Who decides is in Redis: a home that was taken for gone finds that another one is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Self

import msgspec

from wsrunner.errors import GateUnavailableError
from wsrunner.gates.asked import for_ever
from wsrunner.live.letters import error_of
from wsrunner.rooms import entries
from wsrunner.rooms.entries import Entry, Letter, Order, unpack_letter
from wsrunner.rooms.moves import NOWHERE, Moves
from wsrunner.rooms.room import Deed, Ground, Room
from wsrunner.rooms.seat import Seat
from wsrunner.rooms.store import RoomStore
from wsrunner.rooms.visitors import Visitors
from wsrunner.rooms.writer import Writer

log = logging.getLogger(__name__)

BEAT_S = 1.0
GRACE_BEATS = 2
"""Beats in a row that a home must not be seen before another replica takes its rooms over."""
RUNS_BEATS = 5
"""Beats after which homes look again what has become of their runs."""
FLUSH_S = 2.0


class Link:
    """This replica's part in the rooms of all.

    Args:
        store: Redis.
        ground: Where the rooms stand.
        rooms: Those that are here, by id: added to and taken from.
        settled: Called with a room whose home is here from now on.
        parted: Called with a room whose home is not here any more.
        is_starting: Whether this server still waits for its engine and gate.
    """

    def __init__(
        self,
        store: RoomStore,
        ground: Ground,
        rooms: dict[str, Room],
        *,
        settled: Callable[[Room], None],
        parted: Callable[[Room], None],
        is_starting: Callable[[], bool],
    ) -> None:
        self._store = store
        self._settings = ground.settings
        self._replica = ground.replica
        self._rooms = rooms
        self._is_starting = is_starting
        self._writer = Writer(
            store,
            self._replica,
            life_s=self._settings.room_s + 4 * self._settings.lease_s,
            letters_life_s=4 * self._settings.lease_s,
            on_lost=lambda room: self._begin(self._moves.step_down(room)),
            on_absent=lambda room: self._begin(self._moves.restore(room)),
        )
        self._visitors = Visitors(rooms.get, self._writer.post, Room.now_s)
        self._moves = Moves(
            store,
            self._writer,
            self._visitors,
            ground,
            rooms=rooms,
            settled=settled,
            parted=parted,
        )
        self._letters_after = "0-0"
        self._missed: Counter[str] = Counter()
        self._beats = 0
        self._absent_runs: set[str] = set()
        self._unknown: set[str] = set()  # rooms whose homes do not know all that sit here
        self._empty: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for part in (self._writer.write, self._read, self._beat):
            self._begin(
                for_ever(part, "rooms", on_away=self._away, is_starting=self._is_starting),
                f"rooms {part.__name__}",
            )
        return self

    async def __aexit__(self, *exc: object) -> None:
        with contextlib.suppress(TimeoutError, GateUnavailableError):
            async with asyncio.timeout(FLUSH_S):
                await self._writer.flush()
                for room in self._moves.homes:
                    await self._moves.vacate(room)
                await self._writer.flush()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._store.close()

    def _begin(self, work: Coroutine[Any, Any, None], name: str = "rooms") -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _away(self) -> None:
        """Redis does not answer: who is not heard may be there."""
        self._missed.clear()
        self._absent_runs.clear()
        for room in self._moves.homes:
            self._visitors.expect(room)

    @property
    def patience_s(self) -> float:
        """How long a home's answer is waited for: another one may have to take its place."""
        return 2 * self._settings.lease_s + 5 * BEAT_S

    # For the hall.

    async def claim(self, room: Room) -> None:
        """Make a new room known, whose home is here.

        Raises:
            GateUnavailableError: Redis does not answer. It may be known: nobody has its keys.
        """
        await self._writer.claim(room)

    async def find(self, room_id: str) -> Deed | None:
        """Return what is known of a room; raises GateUnavailableError."""
        found = await self._store.find(room_id)
        return None if found is None else found.deed

    async def follow(self, room_id: str) -> Room:
        """See `Moves.follow`."""
        return await self._moves.follow(room_id)

    def publish(self, room: Room, entry: Entry) -> None:
        """Write an entry of a room whose home is here."""
        self._writer.add(room, entry)

    def order(self, room: Room, seat: Seat, order: Order) -> None:
        """Pass an order on to a room's home.

        Raises:
            QueueFullError: Too much waits to be sent.
        """
        if not isinstance(order, entries.Leave | entries.Begin):
            self._writer.check_place()
        seat.turn += 1
        person = seat.person.person
        self._writer.post(
            room.owner, entries.Asks(room.id, self._replica, seat.id, person, seat.turn, order)
        )

    def run_over(self, room_id: str, run_id: str, *, readable: bool) -> None:
        """Tell a room's home, wherever it is, that a run is over."""
        self._begin(self._tell_home(room_id, entries.RunOver(room_id, run_id, readable)))

    async def _tell_home(self, room_id: str, letter: Letter) -> None:
        room = self._rooms.get(room_id)
        if room is not None:
            self._writer.post(room.owner, letter)
            return
        # While Redis is away nobody knows whom to tell.
        with contextlib.suppress(GateUnavailableError):
            found = await self._store.find(room_id)
            if found is not None:
                self._writer.post(found.home, letter)

    def forget(self, room: Room) -> None:
        """Hear that a room is here no more."""
        self._visitors.forget(room)

    # In.

    async def _read(self) -> None:
        while True:
            after = {
                room.id: room.position for room in self._moves.followed if room.position != NOWHERE
            }
            letters, news = await self._store.read(self._replica, self._letters_after, after)
            self._hear_all(letters)
            for room_id, items in news.items():
                room = self._rooms.get(room_id)
                # It may be another than at the beginning of this read, and have more.
                if room is not None and room.home is None and room.position == after[room_id]:
                    self._moves.take_in(room, items)

    def _hear_all(self, letters: Iterable[tuple[str, bytes]]) -> None:
        read: list[tuple[str, Letter]] = []
        for id_, content in letters:
            try:
                read.append((id_, unpack_letter(content)))
            except msgspec.MsgspecError as exc:
                # Of another version, maybe: not to be read for ever, with all behind it.
                log.warning("a letter about rooms makes no sense: %s", exc)
                self._letters_after = id_
        # Of some of them it is known already that they are out of date: a home may stand still.
        leaving = {
            letter.seat
            for _, letter in read
            if isinstance(letter, entries.Asks) and isinstance(letter.order, entries.Leave)
        }
        for id_, letter in read:
            self._letters_after = id_
            if isinstance(letter, entries.Asks):
                self._visitors.ask(letter, is_leaving=letter.seat in leaving)
            else:
                self._hear(letter)

    def _hear(self, letter: Letter) -> None:
        match letter:
            case entries.Here():
                self._visitors.here(letter)
            case entries.RunOver(room_id, run_id, readable):
                room = self._rooms.get(room_id)
                if room is not None and room.home is not None:
                    room.home.end_run(run_id, readable=readable)
                elif room is not None:
                    self._writer.post(room.owner, letter)
            case entries.Refused(room_id, seat_id, is_seat, code, message, path, after_s):
                room = self._rooms.get(room_id)
                seat = None if room is None else room.seats.get(seat_id)
                if room is not None and seat is not None:
                    error = error_of(code, message, path or None, after_s)
                    if is_seat:
                        room.refuse(seat, error)
                    else:
                        seat.complain(error)
            case entries.Unknown(room_id):
                self._unknown.add(room_id)
            case entries.Vacant(room_id, replica):
                self._begin(self._moves.see_vacant(room_id, replica))

    # Time.

    async def _beat(self) -> None:
        while True:
            # First: while Redis is away nothing is written that would only wait.
            await self._store.give_up_letters(self._replica, self._letters_after)
            for room in list(self._rooms.values()):
                room.ask_for_all()
            await self._keep_followed()
            for room in self._moves.homes:
                self._writer.due(room)
            self._visitors.give_up_silent(self._moves.homes, self._replica)
            await self._look()
            self._beats += 1
            if self._beats % RUNS_BEATS == 0:
                await self._look_at_runs()
            await asyncio.sleep(min(BEAT_S, self._settings.lease_s / 4))

    async def _keep_followed(self) -> None:
        """Tell homes who sits here; find rooms again of which something is missing."""
        unknown, self._unknown = self._unknown, set()
        for room in self._moves.followed:
            if not room.seats and room.id in self._empty:
                # Twice in a row: not one that somebody is just coming into.
                self._rooms.pop(room.id, None)
                continue
            if room.position == NOWHERE or room.id in unknown:
                await self._moves.follow_anew(room)
            turns = {seat.id: seat.turn for seat in room.seats.values()}
            self._writer.post(room.owner, entries.Here(room.id, self._replica, turns))
        self._empty = {room.id for room in self._moves.followed if not room.seats}

    async def _look(self) -> None:
        """See which replicas are gone: take over their rooms, and end their runs."""
        others = {room.owner for room in self._moves.followed}
        for room in self._moves.homes:
            others |= {each.replica for each in room.runs.there if not each.run.over}
        others.discard(self._replica)
        live = await self._store.look(others) if others else set()
        self._missed = Counter({each: self._missed[each] + 1 for each in others - live})
        gone = {each for each, beats in self._missed.items() if beats > GRACE_BEATS}
        for room in self._moves.homes:
            for replica in gone:
                if room.home is not None:
                    room.home.lose_runs(replica)
        if gone:
            await self._moves.take_over(gone)

    async def _look_at_runs(self) -> None:
        """See which runs are over: what a home is told of that is lost, if it dies then."""
        before, self._absent_runs = self._absent_runs, set()
        for room in self._moves.homes:
            run_ids = [each.run.run for each in room.runs.there]
            known = await self._store.runs(run_ids) if run_ids else []
            for run_id, what in zip(run_ids, known, strict=True):
                if room.home is None:
                    break
                if what == "over":
                    room.home.end_run(run_id, readable=True)
                elif what == "absent" and run_id in before:
                    # Not where Redis has just lost it: its replica brings it back.
                    room.home.end_run(run_id, readable=False)
                elif what == "absent":
                    self._absent_runs.add(run_id)
