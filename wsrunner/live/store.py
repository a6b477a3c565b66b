"""What of kept runs is in Redis: their records, their events, replicas' letters and signs of life.

Owns the keys and the commands. No tasks.

::

    {prefix}:live:run:ID       hash    the run's `Record`; `lost` once its replica is given up
    {prefix}:live:events:ID    stream  its events; ids are seq-0, or 0-n while it waits
    {prefix}:live:once:HASH    string  the run that a request has begun
    {prefix}:live:letters:ID   stream  to that replica
    {prefix}:live:replica:ID   string  there while that replica lives
    {prefix}:live:ticket:HASH  string  whom a ticket stands for, until it is used

A command whose reply did not come may have been carried out: all of these may be given again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsrunner.gates.asked import Asked, milliseconds
from wsrunner.live.letters import Publication
from wsrunner.live.show import Record

BLOCK_S = 1.0
"""How long a read waits for news; then it is asked again."""
READ_MAX = 256
"""Events and letters that one read brings, over all streams: each may have 100 KiB."""
READ_MIN = 2
"""Of one stream, however many there are."""
FOLDER = Path(__file__).parent
SCRIPTS = ("claim", "publish", "lose", "disown")
RECORD_FIELDS = ("run_id", "drive", "view", "keep_s", "owner", "once", "tty")


class Store(Asked):
    """Redis, as kept runs use it.

    Args:
        url: As for `gates.redis.RedisGate`.
        prefix: Begins every key.

    Every method raises GateUnavailableError if Redis does not do it in time.
    """

    def __init__(self, url: str, prefix: str = "wsrunner") -> None:
        super().__init__(url, f"{{{prefix}}}:live", FOLDER, SCRIPTS)

    async def claim(self, record: Record, life_s: float) -> str:
        """Begin a run; return '' or the id of the run that its request began before."""
        fields = [part for name in RECORD_FIELDS for part in (name, str(getattr(record, name)))]
        keys = [self._key("run", record.run_id), self._key("once", record.once)]
        given = [record.run_id, milliseconds(life_s), "1" if record.once else "0", *fields]
        async with self._asked():
            begun: bytes = await self._scripts["claim"](keys, given)
        return begun.decode()

    async def disown(self, record: Record) -> None:
        """Forget a run that was claimed and never begun."""
        keys = [self._key("run", record.run_id), self._key("once", record.once)]
        async with self._asked():
            await self._scripts["disown"](keys, [record.run_id])

    async def find(self, run_id: str) -> Record | None:
        """Return what is known of a run."""
        async with self._asked():
            found = await self._redis.hgetall(self._key("run", run_id))
        fields = {name.decode(): value.decode() for name, value in found.items()}
        if not all(name in fields for name in RECORD_FIELDS):
            return None
        texts = {name: fields[name] for name in ("run_id", "drive", "view", "owner", "once")}
        return Record(keep_s=float(fields["keep_s"]), tty=fields["tty"] == "True", **texts)

    async def events(self, run_id: str) -> list[tuple[str, bytes]]:
        """Return (id, content) of all events of a run that are there."""
        async with self._asked():
            found = await self._redis.xrange(self._key("events", run_id))
        return [_item(each) for each in found]

    async def write(
        self,
        publications: Sequence[Publication],
        letters: Sequence[tuple[str, bytes]],
        letters_life_s: float,
    ) -> list[str]:
        """Send letters (to whom, content), and then what is new of runs.

        Args:
            publications: Of runs.
            letters: They stay for `letters_life_s`: whoever they are for may be gone.
            letters_life_s: In seconds.

        Returns:
            Of each run what publish.lua answers.
        """
        boxes = [(self._key("letters", replica), content) for replica, content in letters]
        calls = [self._publishing(each) for each in publications]
        async with self._asked():
            return await self._sent(boxes, letters_life_s, "publish", calls)

    def _publishing(self, new: Publication) -> tuple[list[str], list[Any]]:
        keys = [
            self._key("run", new.record.run_id),
            self._key("events", new.record.run_id),
            self._key("once", new.record.once),
        ]
        return keys, [
            new.record.run_id,
            milliseconds(new.life_s),
            f"{new.from_seq}-0",
            "1" if new.frees_once else "0",
            *(part for event in new.events for part in event),
        ]

    async def read(
        self, replica: str, letters_after: str, events_after: Mapping[str, str]
    ) -> tuple[list[tuple[str, bytes]], dict[str, list[tuple[str, bytes]]]]:
        """Wait for letters to a replica and for events of runs, for a while.

        Args:
            replica: Whose letters.
            letters_after: Id of the last letter that it has.
            events_after: Run id → id of the last event that it has.

        Returns:
            (id, content) of letters, and of events by run.
        """
        mailbox = self._key("letters", replica).encode()
        streams = {mailbox: letters_after}
        runs = {self._key("events", run_id).encode(): run_id for run_id in events_after}
        streams |= {key: events_after[run_id] for key, run_id in runs.items()}
        count = max(READ_MAX // len(streams), READ_MIN)
        async with self._asked(BLOCK_S):
            found = await self._redis.xread(streams, count=count, block=milliseconds(BLOCK_S))
        letters: list[tuple[str, bytes]] = []
        events: dict[str, list[tuple[str, bytes]]] = {}
        for key, items in found:
            content = [_item(each) for each in items]
            if key == mailbox:
                letters = content
            else:
                events[runs[key]] = content
        return letters, events

    async def beat(
        self, replica: str, lease_s: float, letters_before: str, letters_life_s: float
    ) -> bool:
        """Show that a replica lives, and give up letters that it has read.

        Returns:
            Whether its last sign of life was still there.
        """
        async with self._asked():
            pipe = self._redis.pipeline(transaction=False)
            pipe.exists(self._key("replica", replica))
            pipe.set(self._key("replica", replica), "", px=milliseconds(lease_s))
            pipe.xtrim(self._key("letters", replica), minid=letters_before, approximate=False)
            pipe.pexpire(self._key("letters", replica), milliseconds(letters_life_s))
            was_there, *_ = await pipe.execute()
        return bool(was_there)

    async def part(self, replica: str) -> None:
        """Show that a replica is gone."""
        async with self._asked():
            await self._redis.delete(self._key("replica", replica), self._key("letters", replica))

    async def look(
        self, replicas: Iterable[str], run_ids: Iterable[str]
    ) -> tuple[set[str], set[str]]:
        """Return which of these replicas live, and which of these runs have a record."""
        replicas, run_ids = list(replicas), list(run_ids)
        async with self._asked():
            pipe = self._redis.pipeline(transaction=False)
            for replica in replicas:
                pipe.exists(self._key("replica", replica))
            for run_id in run_ids:
                pipe.exists(self._key("run", run_id))
            there = await pipe.execute()
        return (
            {name for name, is_there in zip(replicas, there, strict=False) if is_there},
            {
                name
                for name, is_there in zip(run_ids, there[len(replicas) :], strict=True)
                if is_there
            },
        )

    async def put_ticket(self, hashed: str, content: bytes, life_s: float) -> None:
        """Keep whom a ticket stands for."""
        async with self._asked():
            await self._redis.set(self._key("ticket", hashed), content, px=milliseconds(life_s))

    async def take_ticket(self, hashed: str) -> bytes | None:
        """Return whom a ticket stands for, and forget it; a reply that is lost has used it."""
        async with self._asked():
            content: bytes | None = await self._redis.getdel(self._key("ticket", hashed))
        return content

    async def lose(self, run_id: str, content: bytes) -> None:
        """End a run whose replica is gone, if nobody has."""
        async with self._asked():
            await self._scripts["lose"](
                [self._key("run", run_id), self._key("events", run_id)], [content]
            )


def _item(item: Any) -> tuple[str, bytes]:
    id_, fields = item
    (content,) = fields.values()
    return id_.decode(), content
