"""Which replica is a room's home: rooms of elsewhere are followed, taken over, and given up.

Owns what is known of that. No tasks: what waits for Redis here is awaited by whoever calls it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from wsrunner.errors import GateUnavailableError, NoSuchRoomError
from wsrunner.rooms import entries
from wsrunner.rooms.entries import unpack_entry
from wsrunner.rooms.room import Ground, Room
from wsrunner.rooms.store import RoomStore
from wsrunner.rooms.visitors import Visitors
from wsrunner.rooms.writer import Writer

ABSENT_BEATS = 8
"""Beats in a row that Redis must not know a room before it is over."""
NOWHERE = -1
"""Place of who follows a room anew: what it goes on with must say all that the room is."""


class Moves:
    """Knows the rooms that are here, and moves their homes.

    Args:
        store: Redis.
        writer: Sends what the homes here decide.
        visitors: Seats elsewhere, of the homes here.
        ground: Where the rooms stand.
        rooms: Those that are here, by id: added to and taken from.
        settled: Called with a room whose home is here from now on.
        parted: Called with a room whose home is not here any more.
    """

    def __init__(
        self,
        store: RoomStore,
        writer: Writer,
        visitors: Visitors,
        ground: Ground,
        *,
        rooms: dict[str, Room],
        settled: Callable[[Room], None],
        parted: Callable[[Room], None],
    ) -> None:
        self._store = store
        self._writer = writer
        self._visitors = visitors
        self._ground = ground
        self._replica = ground.replica
        self._rooms = rooms
        self._settled = settled
        self._parted = parted
        self._absent: Counter[str] = Counter()  # beats in a row in which Redis knew no such room
        self._moving = asyncio.Lock()

    @property
    def homes(self) -> list[Room]:
        """The rooms whose home is here."""
        return [room for room in self._rooms.values() if room.home is not None]

    @property
    def followed(self) -> list[Room]:
        """Those whose home is elsewhere."""
        return [room for room in self._rooms.values() if room.home is None]

    async def follow(self, room_id: str) -> Room:
        """Return a room of elsewhere; its home is here from now on if it has none.

        If its home is dead, `take_over` comes in a moment.

        Raises:
            GateUnavailableError: Redis does not answer.
            NoSuchRoomError: It is over.

        Cancelling is safe.
        """
        async with self._moving:
            room = self._rooms.get(room_id)
            if room is not None:
                return room
            found = await self._store.find(room_id)
            if found is None or self._writer.is_closing(room_id):
                raise NoSuchRoomError(f"room {room_id!r} is over", path="$.room")
            room = Room(found.deed, self._ground)
            room.owner = found.home
            await self._load(room)
            self._rooms[room_id] = room
            # Its own already, where it broke off while it took the room over.
            if found.home in {"", self._replica}:
                await self._take_over(room)
            # The read that goes on does not have it among its streams.
            self._writer.post(self._replica, entries.Wake())
            return room

    def take_in(self, room: Room, items: Iterable[tuple[int, bytes]]) -> None:
        """Take in what has happened in a room; where something is missing, go to `NOWHERE`."""
        for number, content in items:
            entry = unpack_entry(content)
            follows = number == room.position + 1 and room.position != NOWHERE
            if not isinstance(entry, entries.Whole):
                if not follows:
                    room.position = NOWHERE
                    return
                room.hear(entry)
            elif entry.home != room.owner:
                self._move(room, entry)
            elif not follows:
                room.hear(entry)
                room.tell_all()
            room.position = number
            if isinstance(entry, entries.Closed):
                self._rooms.pop(room.id, None)
                return

    def _move(self, room: Room, whole: entries.Whole) -> None:
        """Let a room's seats sit at another home: what was on its way to the old one is lost."""
        room.owner = whole.home
        room.hear(whole)
        room.sit_anew()

    async def _load(self, room: Room) -> None:
        """Take in all that is there of a room."""
        items = await self._store.entries(room.id, 0)
        happened = [unpack_entry(content) for _, content in items]
        if not happened or isinstance(happened[-1], entries.Closed):
            raise NoSuchRoomError(f"room {room.id!r} is over", path="$.room")
        room.position = items[-1][0]
        room.replay(happened)

    async def follow_anew(self, room: Room) -> None:
        """Find a room again, wherever its home is by now; if it is nowhere, the next beat looks.

        Raises:
            GateUnavailableError: Redis does not answer.
        """
        async with self._moving:
            if self._rooms.get(room.id) is room and room.home is None:
                await self._follow_anew(room)

    async def _follow_anew(self, room: Room) -> None:
        room.position = NOWHERE
        found = await self._store.find(room.id)
        if found is not None:
            room.owner = found.home
            with contextlib.suppress(NoSuchRoomError):
                await self._load(room)
                if room.owner == self._replica:
                    # Its answer was lost when it took the room over.
                    self._settle(room, "")
                    return
                room.sit_anew()
                self._writer.post(self._replica, entries.Wake())
                del self._absent[room.id]
                return
        self._absent[room.id] += 1
        if self._absent[room.id] > ABSENT_BEATS:
            # Redis may have lost it, but its home would have brought it back.
            del self._absent[room.id]
            self._rooms.pop(room.id, None)
            room.hear(entries.Closed("closed"))

    async def see_vacant(self, room_id: str, replica: str) -> None:
        """Hear that a replica is a room's home no more: take its place, if no other one has."""
        with contextlib.suppress(GateUnavailableError):
            async with self._moving:
                room = self._rooms.get(room_id)
                if room is not None and room.home is None and room.owner == replica:
                    await self._take_over(room)

    async def _take_over(self, room: Room) -> None:
        """Make this replica a room's home, if no other one is faster; the caller has `_moving`."""
        before = room.owner
        home = await self._store.take(room.id, before, self._replica)
        if home == "":
            home = await self._store.take(room.id, "", self._replica)
        if home is None:
            # Redis has lost it with its home: this one has all of it.
            home = await self._writer.claim(room)
        if home == self._replica:
            self.take_in(room, await self._store.entries(room.id, max(room.position, 0)))
            self._settle(room, before)
        else:
            await self._follow_anew(room)

    def _settle(self, room: Room, before: str) -> None:
        # Who sat here may have gone meanwhile, but nobody else is its home now.
        self._rooms[room.id] = room
        self._writer.begin(room)
        self._visitors.expect(room)
        room.settle()
        assert room.home is not None
        # What those wrote who left went to the last home.
        room.home.lose(self._replica, but=room.seats)
        if before not in {"", self._replica}:
            room.home.lose(before)
            room.home.lose_runs(before)
        room.sit_anew()
        self._settled(room)

    async def step_down(self, room: Room) -> None:
        """Let another replica be the home of a room, as it is already."""
        with contextlib.suppress(GateUnavailableError):
            async with self._moving:
                if self._rooms.get(room.id) is not room or room.home is None:
                    return
                self._writer.end(room)
                self._visitors.forget(room)
                room.home = None
                self._parted(room)
                await self._follow_anew(room)

    async def restore(self, room: Room) -> None:
        """Make a room known to a Redis that has lost it."""
        with contextlib.suppress(GateUnavailableError):
            async with self._moving:
                if self._rooms.get(room.id) is room and room.home is not None:
                    await self._writer.claim(room)
        self._writer.due(room)  # where another one is its home, the answer tells

    async def vacate(self, room: Room) -> None:
        """Leave a room without a home, to whoever takes it; raises GateUnavailableError."""
        await self._store.take(room.id, self._replica, "")
        self._writer.end(room)
        for replica in {each.replica for each in room.state.people.values()} - {self._replica}:
            self._writer.post(replica, entries.Vacant(room.id, self._replica))

    async def take_over(self, gone: Collection[str]) -> None:
        """Take the place of replicas that are gone; raises GateUnavailableError."""
        async with self._moving:
            for room in self.followed:
                if room.owner in gone:
                    await self._take_over(room)
