"""A room whose people write while their connections are cut and its servers killed or stopped.

``python -m tests.rooms.storm 600`` starts three servers on one Redis and goes on for so many
seconds; with ``--redis`` that one dies now and then, too. The document is a set: an update has some
members, one a line. Each writer keeps its own and, as clients are told to, sends again what is
missing wherever the document comes anew. At the end all, and somebody who comes then, must have the
same members: all that anybody has written; and nobody may be in the room who is not there.
"""

import argparse
import asyncio
import contextlib
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.gates.servers import RedisServer
from tests.live.cutter import Cutter
from tests.serving import SHORT_LEASE_S, Serving
from wsrunner.client import Client, ConnectError, RunRefusedError
from wsrunner.client.happenings import Compact, Document, Update

SETTLE_S = 120
TROUBLE_EVERY_S = 4.0


class Person:
    """Somebody who writes into the room.

    Attributes:
        has: The members of the document, as far as this client knows.
    """

    def __init__(self, name, seen):
        self.name = name
        self.seen = seen
        self.has = set()
        self._mine = set()

    async def write(self, room, chance, until_s):
        """Write something now and then."""
        while time.monotonic() < until_s:
            await asyncio.sleep(chance.expovariate(5))
            member = f"{self.name}{len(self._mine)}"
            self._mine.add(member)
            await room.update(member.encode())

    async def read(self, room):
        """Take in what happens, and send what is missing of one's own."""
        while not room.is_over:
            try:
                async for each in room:
                    await self._take(room, each)
            except RunRefusedError as exc:
                if room.failure is not None:
                    raise
                self.seen[f"refused: {exc.code}"] += 1
        raise AssertionError(f"{self.name} is not in the room any more: {room.over}")

    async def _take(self, room, happening):
        match happening:
            case Document(updates=updates):
                self.seen["documents"] += 1
                self.has = _members(updates)
                if missing := self._mine - self.has:
                    await room.update("\n".join(missing).encode())
            case Update(person=person, data=None):
                assert person == room.you
            case Update(data=data):
                self.has |= _members([data])
            case Compact(seq=seq):
                self.seen["compacted"] += 1
                everything = "\n".join(self.has | self._mine)
                await room.update(everything.encode(), replaces=seq)

    @property
    def mine(self):
        """What this one has written."""
        return self._mine


def _members(updates):
    return {member for data in updates for member in data.decode().split("\n") if member}


class RoomStorm:
    """One room, several writers, each with a way of its own that breaks off again and again.

    Args:
        addresses: Of the servers.
        seed: For whatever is left to chance.
        cut_every_s: About how often each connection is cut.
    """

    def __init__(self, addresses, seed, *, cut_every_s=5.0):
        self.addresses = addresses
        self.seen = Counter()
        self.all_there = asyncio.Event()
        self._chance = random.Random(seed)
        self._cut_every_s = cut_every_s

    async def go(self, writers, length_s):
        """Let so many write for a while; then all must come to the same."""
        async with contextlib.AsyncExitStack() as stack:
            ways = [
                await stack.enter_async_context(Cutter(self.addresses, number))
                for number in range(writers + 1)
            ]
            clients = [await stack.enter_async_context(await _connected(way)) for way in ways]
            owner = await clients[0].open_room(name="owner", events=False)
            people = [Person(f"p{number}-", self.seen) for number in range(writers)]
            rooms = [
                await client.join_room(owner.room, owner.keys.work, name=person.name)
                for client, person in zip(clients[1:], people, strict=True)
            ]
            self.all_there.set()
            until_s = time.monotonic() + length_s
            async with asyncio.TaskGroup() as group:
                cutting = [group.create_task(self._cut(way)) for way in ways]
                reading = [
                    group.create_task(person.read(room))
                    for person, room in zip(people, rooms, strict=True)
                ]
                async with asyncio.TaskGroup() as writing:
                    for person, room in zip(people, rooms, strict=True):
                        chance = random.Random(self._chance.random())
                        writing.create_task(person.write(room, chance, until_s))
                for task in cutting:
                    task.cancel()
                await self._settle(people, owner)
                for task in reading:
                    task.cancel()

    async def _cut(self, way):
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / self._cut_every_s))
            self.seen["cuts"] += 1
            way.cut()

    async def _settle(self, people, owner):
        """Wait until all have all; then somebody who comes has, too."""
        wanted = set().union(*(person.mine for person in people))
        try:
            async with asyncio.timeout(SETTLE_S):
                while any(person.has | person.mine != wanted for person in people):
                    await asyncio.sleep(0.1)
                there = Counter(["owner", "late", *(person.name for person in people)])
                while await self._newcomer_s(owner) != (wanted, there):
                    await asyncio.sleep(0.5)
        except TimeoutError:
            missing = {p.name: sorted(wanted - p.has - p.mine)[:9] for p in people}
            late, there = await self._newcomer_s(owner)
            raise AssertionError(
                f"missing: {missing}; of who comes: {sorted(wanted - late)[:9]}; there: {there}; "
                f"the owner's: {owner!r} {owner.failure!r}"
            ) from None
        self.seen["members"] += len(wanted)

    async def _newcomer_s(self, owner):
        """Return the document's members and the people's names as who comes now hears them."""
        async with Cutter(self.addresses) as way, await _connected(way) as client:
            room = await client.join_room(owner.room, owner.keys.watch, name="late")
            members = await anext(
                _members(each.updates) async for each in room if isinstance(each, Document)
            )
            return members, Counter(person.name for person in room.people)


async def _connected(way):
    """Return a client that can connect: a server may have just been killed."""
    while True:
        client = Client(way.url)
        try:
            await client.__aenter__()
        except ConnectError:
            await asyncio.sleep(0.1)
            continue

        @contextlib.asynccontextmanager
        async def closing(client=client):
            try:
                yield client
            finally:
                await client.__aexit__(None, None, None)

        return closing()


async def trouble(servers, chance, storm, length_s):
    """Kill one server after the other, stop it in order, or let it stand still for a while.

    At the end all are there.
    """
    await storm.all_there.wait()
    until_s = time.monotonic() + length_s
    while time.monotonic() < until_s:
        await asyncio.sleep(chance.expovariate(1 / TROUBLE_EVERY_S))
        server, kind = chance.choice(servers), chance.choice(("killed", "stopped", "stood still"))
        storm.seen[kind] += 1
        if kind == "stood still":
            server.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(chance.uniform(0, 3 * SHORT_LEASE_S))
            finally:
                server.signal(signal.SIGCONT)
            continue
        await asyncio.to_thread(server.kill if kind == "killed" else server.stop)
        await asyncio.sleep(chance.uniform(0, 2 * SHORT_LEASE_S))
        await asyncio.to_thread(server.start)


async def redis_trouble(redis, chance, storm, length_s):
    """Restart Redis, let it die with what it had yet to save, or let it stand still for a while."""
    await storm.all_there.wait()
    until_s = time.monotonic() + length_s
    while time.monotonic() < until_s:
        await asyncio.sleep(chance.expovariate(1 / TROUBLE_EVERY_S))
        kind = chance.choice(("restarted", "died", "stood still"))
        storm.seen[f"redis {kind}"] += 1
        if kind == "restarted":
            await asyncio.to_thread(redis.restart, keep_data=True)
        elif kind == "died":
            redis.command("SAVE")
            await asyncio.sleep(chance.uniform(0, 1))
            redis.stop(signal.SIGKILL)
            await asyncio.sleep(chance.uniform(0, 1))
            await asyncio.to_thread(redis.start)
        else:
            redis.freeze()
            await asyncio.sleep(chance.uniform(0, SHORT_LEASE_S))
            redis.thaw()


async def _main(length_s, seed, writers, *, redis_too):
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer(shutil.which("redis-server"), Path(folder)))
        servers = []
        for number in range(3):
            server = Serving(
                Path(folder) / f"{number}.log",
                redis_url=redis.tcp_url,
                lease_s=SHORT_LEASE_S,
                drain_s=0,
                warm_max=0,
                port=redis.port + 100 + number,
            )
            servers.append(server.start())
            stack.callback(server.stop)
        storm = RoomStorm([each.address for each in servers], seed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(trouble(servers, random.Random(seed), storm, length_s))
                if redis_too:
                    chance = random.Random(seed + 1)
                    group.create_task(redis_trouble(redis, chance, storm, length_s))
                group.create_task(storm.go(writers, length_s))
        finally:
            print(f"seed {seed}: {dict(storm.seen)}")  # noqa: T201
            for server in servers:
                text = server.log.read_text()
                if "Traceback" in text:
                    print(text[text.index("Traceback") - 200 :][:3000])  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--writers", type=int, default=5)
    parser.add_argument("--redis", action="store_true", help="trouble for Redis, too")
    given = parser.parse_args()
    asyncio.run(_main(given.seconds, given.seed, given.writers, redis_too=given.redis))
