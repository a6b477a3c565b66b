"""What a room's home has decided, on its way to where other replicas read it.

Owns which entries have yet to be written. Pure: no tasks, no clock.
"""

from __future__ import annotations

from collections import deque

from wsrunner.rooms.entries import Closed, Entry, pack
from wsrunner.rooms.room import Room
from wsrunner.rooms.store import Publication
from wsrunner.units import KIB

BATCH_BYTES = 1024 * KIB
"""What is written of one room at once."""
WHOLE_AFTER_BYTES = 256 * KIB
"""Entries after which all that the room is stands for them, at the least."""
WAITING_MAX_BYTES = 4096 * KIB
"""What may wait to be written; beyond, all that the room is stands for it."""


class Pen:
    """Writes for one room whose home is here.

    Args:
        room: The room.
        replica: This one.
    """

    def __init__(self, room: Room, replica: str) -> None:
        self.room = room
        self._replica = replica
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._first = 0
        self._since_whole_bytes = 0
        self._is_over = False

    @property
    def is_done(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._waiting

    @property
    def is_over(self) -> bool:
        """Whether the room is, and nothing more comes."""
        return self._is_over

    def add(self, entry: Entry) -> None:
        """Write an entry."""
        self._is_over = isinstance(entry, Closed)
        self._write(pack(entry))
        whole_bytes = max(WHOLE_AFTER_BYTES, 2 * self.room.held_bytes)
        if not self._is_over and self._since_whole_bytes > whole_bytes:
            self.add_whole()

    def add_whole(self) -> None:
        """Write all that the room is: what came before is needed no more."""
        if self._waiting_bytes > WAITING_MAX_BYTES:
            self._waiting.clear()
            self._waiting_bytes = 0
        self._write(pack(self.room.state.whole(self._replica)))
        self._first = self.room.position
        self._since_whole_bytes = 0

    def _write(self, content: bytes) -> None:
        self.room.position += 1
        self._waiting.append((self.room.position, content))
        self._waiting_bytes += len(content)
        self._since_whole_bytes += len(content)

    def publication(self) -> Publication:
        """Return what is written at once."""
        batch: list[tuple[int, bytes]] = []
        size = 0
        for number, content in self._waiting:
            if batch and size + len(content) > BATCH_BYTES:
                break
            batch.append((number, content))
            size += len(content)
        last = batch[-1][0] if batch else self.room.position
        is_all = len(batch) == len(self._waiting)
        first = self._first if last >= self._first else 0
        after = batch[0][0] - 1 if batch else last
        return Publication(self.room.id, first, after, self._is_over and is_all, batch)

    def written(self, publication: Publication) -> None:
        """Hear that it has come."""
        if not publication.entries:
            return
        last = publication.entries[-1][0]
        while self._waiting and self._waiting[0][0] <= last:
            self._waiting_bytes -= len(self._waiting.popleft()[1])
