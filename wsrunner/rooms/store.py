"""What of rooms is in Redis: their records, what happened in them, and replicas' letters.

Owns the keys and the commands. No tasks.

::

    {prefix}:live:room:ID          hash    the room's `Deed`, the replica that is its home, and the
                                           number of its last entry
    {prefix}:live:entries:ID       stream  what happened in it, from one that says all it was
    {prefix}:live:room_letters:ID  stream  to that replica
    {prefix}:live:replica:ID       string  there while that replica lives; `live.store` writes it,
    {prefix}:live:run:ID           hash    and what is known of kept runs
    {prefix}:live:events:ID        stream

A command whose reply did not come may have been carried out: all of these may be given again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from wsrunner.gates.asked import Asked, milliseconds
from wsrunner.rooms.room import Deed, Keys
from wsrunner.runs.job import Principal

BLOCK_S = 1.0
"""How long a read waits for news; then it is asked again."""
READ_MAX = 256
"""Entries and letters that one read brings, over all streams: each may have 64 KiB."""
READ_MIN = 4
"""Of one stream, however many there are."""
END_S = 60.0
"""How long the end of a room can be read."""
FOLDER = Path(__file__).parent
SCRIPTS = ("claim", "publish", "runs", "take")

_pack = msgspec.msgpack.Encoder().encode
_unpack_principal = msgspec.msgpack.Decoder(Principal).decode


class Found(NamedTuple):
    """A room that is known, and the replica that is its home; empty for none."""

    deed: Deed
    home: str


class Publication(NamedTuple):
    """What is new of one room.

    Attributes:
        room_id: Which.
        first: Number of the entry before which none is needed; 0 for all are.
        after: Number of the one before these.
        over: Whether the room is.
        entries: (number, content) of each.
    """

    room_id: str
    first: int
    after: int
    over: bool
    entries: Sequence[tuple[int, bytes]]


class RoomStore(Asked):
    """Redis, as rooms use it.

    Args:
        url: As for `gates.redis.RedisGate`.
        prefix: Begins every key.

    Every method raises GateUnavailableError if Redis does not do it in time.
    """

    def __init__(self, url: str, prefix: str = "wsrunner") -> None:
        super().__init__(url, f"{{{prefix}}}:live", FOLDER, SCRIPTS)

    def _keys(self, room_id: str) -> list[str]:
        return [self._key("room", room_id), self._key("entries", room_id)]

    async def claim(self, deed: Deed, home: str, number: int, whole: bytes, life_s: float) -> str:
        """Make a room known, unless another one is its home; return the replica that is."""
        given = [home, milliseconds(life_s), number, whole]
        fields = ["own", deed.keys.own, "work", deed.keys.work, "watch", deed.keys.watch]
        fields += ["address", deed.address]
        async with self._asked():
            is_home: bytes = await self._scripts["claim"](
                self._keys(deed.id), [*given, *fields, "opener", _pack(deed.opener)]
            )
        return is_home.decode()

    async def find(self, room_id: str) -> Found | None:
        """Return what is known of a room."""
        async with self._asked():
            found = await self._redis.hgetall(self._key("room", room_id))
        if not found:
            return None
        fields = {name.decode(): value for name, value in found.items()}
        opener = _unpack_principal(fields.pop("opener"))
        own, work, watch, address, home = (
            fields[name].decode() for name in ("own", "work", "watch", "address", "home")
        )
        return Found(Deed(room_id, Keys(own, work, watch), opener, address), home)

    async def take(self, room_id: str, home: str, other: str) -> str | None:
        """Make another replica a room's home; return which one is; None if there is no room."""
        async with self._asked():
            is_home: bytes | None = await self._scripts["take"](
                [self._key("room", room_id)], [home, other]
            )
        return None if is_home is None else is_home.decode()

    async def entries(self, room_id: str, after: int) -> list[tuple[int, bytes]]:
        """Return (number, content) of what happened in a room after an entry."""
        async with self._asked():
            found = await self._redis.xrange(self._key("entries", room_id), min=f"({after}-0")
        return [_item(each) for each in found]

    async def write(
        self,
        letters: Sequence[tuple[str, bytes]],
        publications: Sequence[Publication],
        *,
        home: str,
        life_s: float,
        letters_life_s: float,
    ) -> list[str]:
        """Send letters (to whom, content), and then what is new of rooms.

        Returns:
            Of each room what publish.lua answers.
        """
        boxes = [(self._key("room_letters", replica), content) for replica, content in letters]
        calls = [
            (self._keys(each.room_id), self._publishing(each, home, life_s))
            for each in publications
        ]
        async with self._asked():
            return await self._sent(boxes, letters_life_s, "publish", calls)

    @staticmethod
    def _publishing(new: Publication, home: str, life_s: float) -> list[Any]:
        return [
            home,
            milliseconds(life_s),
            f"{new.first}-0" if new.first else "",
            "1" if new.over else "0",
            milliseconds(END_S),
            new.after,
            *(part for entry in new.entries for part in entry),
        ]

    async def read(
        self, replica: str, letters_after: str, entries_after: Mapping[str, int]
    ) -> tuple[list[tuple[str, bytes]], dict[str, list[tuple[int, bytes]]]]:
        """Wait for letters to a replica and for what happens in rooms, for a while.

        Args:
            replica: Whose letters.
            letters_after: Id of the last letter that it has.
            entries_after: Room id → number of the last entry that it has.

        Returns:
            (id, content) of letters, and (number, content) of entries by room.
        """
        mailbox = self._key("room_letters", replica).encode()
        streams = {mailbox: letters_after}
        rooms = {self._key("entries", room_id).encode(): room_id for room_id in entries_after}
        streams |= {key: f"{entries_after[room_id]}-0" for key, room_id in rooms.items()}
        count = max(READ_MAX // len(streams), READ_MIN)
        async with self._asked(BLOCK_S):
            found = await self._redis.xread(streams, count=count, block=milliseconds(BLOCK_S))
        letters: list[tuple[str, bytes]] = []
        entries: dict[str, list[tuple[int, bytes]]] = {}
        for key, items in found:
            if key == mailbox:
                letters = [(id_.decode(), *fields.values()) for id_, fields in items]
            else:
                entries[rooms[key]] = [_item(each) for each in items]
        return letters, entries

    async def look(self, replicas: Iterable[str]) -> set[str]:
        """Return which of these replicas live."""
        replicas = list(replicas)
        async with self._asked():
            pipe = self._redis.pipeline(transaction=False)
            for replica in replicas:
                pipe.exists(self._key("replica", replica))
            there = await pipe.execute()
        return {name for name, is_there in zip(replicas, there, strict=True) if is_there}

    async def runs(self, run_ids: Iterable[str]) -> list[str]:
        """Return of each run ``on``, ``over``, or ``absent`` where nobody can read it any more."""
        keys = [self._key(kind, run_id) for run_id in run_ids for kind in ("run", "events")]
        async with self._asked():
            known: list[bytes] = await self._scripts["runs"](keys)
        return [each.decode() for each in known]

    async def give_up_letters(self, replica: str, before: str) -> None:
        """Give up letters to a replica that it has read."""
        async with self._asked():
            await self._redis.xtrim(
                self._key("room_letters", replica), minid=before, approximate=False
            )


def _item(item: Any) -> tuple[int, bytes]:
    id_, fields = item
    (content,) = fields.values()
    return int(id_.partition(b"-")[0]), content
