"""What goes out of this replica about rooms: letters, and what the homes here have decided.

Owns what waits to be sent, and the task that sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wsrunner.gates.outbox import WRITE_BYTES, Outbox
from wsrunner.rooms.entries import Entry, Letter, pack
from wsrunner.rooms.pen import Pen
from wsrunner.rooms.room import Room
from wsrunner.rooms.store import Publication, RoomStore


class Writer:
    """Sends letters and entries.

    Args:
        store: Redis.
        replica: This one's name.
        life_s: How long what is in Redis outlives the last sign of a room's home.
        letters_life_s: Likewise letters, and the last one that was written.
        on_lost: Called with a room whose home is another replica, as Redis says.
        on_absent: Called with a room that Redis does not know.
    """

    def __init__(
        self,
        store: RoomStore,
        replica: str,
        *,
        life_s: float,
        letters_life_s: float,
        on_lost: Callable[[Room], None],
        on_absent: Callable[[Room], None],
    ) -> None:
        self._store = store
        self._replica = replica
        self._life_s = life_s
        self._letters_life_s = letters_life_s
        self._on_lost = on_lost
        self._on_absent = on_absent
        self._pens: dict[str, Pen] = {}
        self._fresh: dict[str, None] = {}  # rooms of which something has to be written
        self._outbox = Outbox()
        self._filled = asyncio.Event()
        self._sent = asyncio.Event()
        self._sending = False

    # Rooms whose home is here.

    async def claim(self, room: Room) -> str:
        """Make a room known to Redis, unless another replica is its home; return which one is.

        Raises:
            GateUnavailableError: Redis does not answer.
        """
        # Also where there is no reply: what was written under a number is not written over.
        room.position = max(room.position, 0) + 1
        whole = pack(room.state.whole(self._replica))
        home = await self._store.claim(room.deed, self._replica, room.position, whole, self._life_s)
        if home == self._replica:
            room.owner = home
            self._pens.setdefault(room.id, Pen(room, self._replica))
        return home

    def begin(self, room: Room) -> None:
        """Write for a room from now on; first, all that it is."""
        room.owner = self._replica
        room.position = max(room.position, 0)
        pen = self._pens[room.id] = Pen(room, self._replica)
        pen.add_whole()
        self.due(room)

    def end(self, room: Room) -> None:
        """Write nothing more of a room."""
        self._pens.pop(room.id, None)

    def is_closing(self, room_id: str) -> bool:
        """Whether the end of a room has been decided here, and may have yet to be written."""
        pen = self._pens.get(room_id)
        return pen is not None and pen.is_over

    def add(self, room: Room, entry: Entry) -> None:
        """Write an entry."""
        pen = self._pens.get(room.id)
        if pen is not None:
            pen.add(entry)
            self.due(room)

    def due(self, room: Room) -> None:
        """Let Redis hear of a room, though nothing may be new."""
        self._fresh[room.id] = None
        self._filled.set()

    # Letters.

    def check_place(self) -> None:
        """Raise QueueFullError if too much waits to be sent."""
        self._outbox.check_place()

    def post(self, replica: str, letter: Letter) -> None:
        """Send a letter; never waits."""
        self._outbox.add(replica, pack(letter))
        self._filled.set()

    # Out.

    async def flush(self) -> None:
        """Wait until all is sent. Cancelling is safe."""
        while self._outbox or self._fresh or self._sending:
            self._sent.clear()
            self._filled.set()
            await self._sent.wait()

    async def write(self) -> None:
        """Send what there is, for ever; raises GateUnavailableError and may be begun again."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            letters = self._outbox.first()
            publications = self._publications()
            self._sending = True
            try:
                answers = await self._store.write(
                    letters,
                    list(publications.values()),
                    home=self._replica,
                    life_s=self._life_s,
                    letters_life_s=self._letters_life_s,
                )
            except BaseException:
                # Once more, in the same order: which of it came through nobody knows.
                self._fresh = dict.fromkeys(pen.room.id for pen in publications) | self._fresh
                self._filled.set()
                raise
            finally:
                self._sending = False
            self._outbox.sent(letters)
            for (pen, publication), answer in zip(publications.items(), answers, strict=True):
                if self._pens.get(pen.room.id) is pen:
                    self._answered(pen, publication, answer)
            if self._outbox or self._fresh:
                self._filled.set()
            self._sent.set()

    def _publications(self) -> dict[Pen, Publication]:
        """Return what is written of rooms at once; the others stay for the next turn."""
        taken: dict[Pen, Publication] = {}
        size = 0
        while self._fresh and size <= WRITE_BYTES:
            id_ = next(iter(self._fresh))
            del self._fresh[id_]
            if (pen := self._pens.get(id_)) is not None:
                taken[pen] = pen.publication()
                size += sum(len(content) for _, content in taken[pen].entries)
        return taken

    def _answered(self, pen: Pen, publication: Publication, answer: str) -> None:
        if answer == "absent" and not pen.is_over:
            self._on_absent(pen.room)
        elif answer == "lost" and pen.is_over:
            self.end(pen.room)  # it goes on elsewhere, and nobody is in it here
        elif answer == "lost":
            self._on_lost(pen.room)
        else:
            pen.written(publication)
            if not pen.is_done:
                self.due(pen.room)
            elif pen.is_over:
                del self._pens[pen.room.id]
