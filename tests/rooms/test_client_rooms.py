"""The Python client in rooms, over real sockets."""

import asyncio
import json

import pytest

from tests.live.cutter import Cutter
from tests.talk import PATIENCE_S
from wsrunner.client import (
    Awareness,
    Client,
    Compact,
    ConnectionLostError,
    Document,
    RunRefusedError,
    Typed,
    Update,
    board,
)
from wsrunner.client.board import Board
from wsrunner.client.rooms import Room, joining

HELLO = "print('hello', input('name? '))"


@pytest.fixture
async def way(server):
    """A way to the server that can be cut."""
    async with Cutter([server.address]) as way:
        yield way


async def until(room, matches):
    """Iterate until something happens that matches; return it."""
    async with asyncio.timeout(PATIENCE_S):
        async for happening in room:
            if matches(happening):
                return happening
    raise AssertionError(f"{room!r} is over")


def a(kind):
    return lambda happening: isinstance(happening, kind)


async def test_people_in_a_room_change_its_document_and_see_each_other(server):
    async with Client(server.url) as tutor, Client(server.url) as student:
        ada = await tutor.open_room(name="Ada")
        bob = await student.join_room(ada.room, ada.keys.work, name="Bob")
        assert [(each.name, each.role) for each in bob.people] == [("Ada", "own"), ("Bob", "work")]
        assert await until(bob, a(Document)) == Document(0, [], {})
        await ada.update(b"\x00one")
        assert await until(ada, a(Update)) == Update(1, ada.you, None)
        assert await until(bob, a(Update)) == Update(1, ada.you, b"\x00one")
        await bob.awareness(b"here")
        assert await until(ada, a(Awareness)) == Awareness(bob.you, b"here")
        await bob.hand()
        await until(ada, lambda _: [each.hand for each in ada.people] == [False, True])
        await ada.grant("watch", bob.you)
        await until(bob, lambda _: not bob.works)
        await bob.update(b"no")
        with pytest.raises(RunRefusedError, match="only who may work") as refused:
            await until(bob, a(Update))
        assert refused.value.code == "not_allowed"
        await ada.close()
        with pytest.raises(AssertionError, match="is over"):
            await until(bob, a(Update))
        assert bob.over == "closed"
        await bob.update(b"too late, and nothing happens")


async def test_who_has_no_key_comes_not_in(server):
    async with Client(server.url) as tutor, Client(server.url) as stranger:
        ada = await tutor.open_room()
        with pytest.raises(RunRefusedError) as refused:
            await stranger.join_room(ada.room, "guessed")
        assert (refused.value.code, refused.value.path) == ("no_such_room", "$.room")
        assert (await stranger.collect("python", code="print(1)")).stdout == b"1\n"


async def test_all_see_a_run_of_the_room_and_who_works_there_types(server):
    async with Client(server.url) as tutor, Client(server.url) as student:
        ada = await tutor.open_room(name="Ada")
        bob = await student.join_room(ada.room, ada.keys.work, name="Bob")
        run = await tutor.run("python", code=HELLO, room=ada)
        await until(bob, lambda _: bool(bob.runs))
        assert [(each.run, each.name, each.over) for each in bob.runs] == [
            (run.keys.run, "Ada", False)
        ]
        seen = await student.attach(run.keys.run, room=bob)
        assert (await anext(seen)).data == b"name? "
        await seen.stdin("Bob\n")
        assert await until(ada, a(Typed)) == Typed(bob.you, run.keys.run)
        async with asyncio.timeout(PATIENCE_S):
            assert b"".join([each.data async for each in seen]) == b"hello Bob\n"
            assert (await run.exit()).code == 0
        with pytest.raises(ValueError, match="exactly one of key and room"):
            await student.attach(run.keys.run)


async def test_a_client_comes_back_to_its_room_and_to_the_runs_there(server, way):
    async with Client(server.url) as tutor, Client(way.url) as student:
        ada = await tutor.open_room(name="Ada")
        bob = await student.join_room(ada.room, ada.keys.work, name="Bob")
        run = await student.run("python", code=HELLO, room=bob)
        assert (await anext(run)).data == b"name? "
        you = bob.you
        for number in range(3):
            way.cut()
            await ada.update(b"%d" % number)
            # What it missed, it hears.
            await until(bob, lambda each, n=number: b"%d" % n in _heard(each))
            assert (bob.you, bob.me.role, bob.me.name) == (you, "work", "Bob")
        await run.stdin("Bob\n")
        async with asyncio.timeout(PATIENCE_S):
            assert b"".join([each.data async for each in run]) == b"hello Bob\n"
        assert way.connections > 3


def _heard(happening):
    match happening:
        case Document(updates=updates):
            return updates
        case Update(data=data):
            return [data]
    return []


async def test_who_opened_a_room_comes_back_as_its_owner(way, server):
    async with Client(way.url) as tutor, Client(server.url) as student:
        ada = await tutor.open_room(name="Ada")
        keys, name = ada.keys, ada.room
        bob = await student.join_room(ada.room, keys.work)
        await until(ada, a(Document))
        way.cut()
        await until(ada, a(Document))
        await ada.grant("watch")
        await until(bob, lambda _: not bob.works)
        assert (ada.room, ada.keys, ada.me.role) == (name, keys, "own")


async def test_a_room_that_has_ended_meanwhile_is_an_error(server, way):
    async with Client(server.url) as tutor, Client(way.url) as student:
        ada = await tutor.open_room()
        bob = await student.join_room(ada.room, ada.keys.work)
        await until(bob, a(Document))
        way.addresses = ["127.0.0.1:1"]  # where nobody is
        way.cut()
        await ada.close()
        with pytest.raises(AssertionError, match="is over"):
            await until(ada, a(Update))
        way.addresses = [server.address]
        with pytest.raises(RunRefusedError) as refused:
            await until(bob, a(Document))
        assert refused.value.code == "no_such_room"
        with pytest.raises(RunRefusedError):
            await bob.hand()


async def test_who_is_asked_makes_the_document_smaller(server):
    async with Client(server.url) as tutor, Client(server.url) as student:
        ada = await tutor.open_room()
        for number in range(200):
            await ada.update(b"%d" % number)
        asked = await until(ada, a(Compact))
        await ada.update(b"all", replaces=asked.seq)
        await ada.update(b"next")
        await until(ada, lambda each: isinstance(each, Update) and each.seq == 201)
        bob = await student.join_room(ada.room, ada.keys.watch)
        assert (await until(bob, a(Document))).updates == [b"all", b"next"]


async def test_nobody_need_iterate_over_a_room_and_who_is_slow_loses_nothing(start_server):
    serving = start_server(room_kb=4096, room_messages_per_s=1000)
    async with (
        Client(serving.url) as tutor,
        Client(serving.url) as slow,
        Client(serving.url) as silent,
    ):
        ada = await tutor.open_room(events=False)
        bob = await slow.join_room(ada.room, ada.keys.watch)
        eve = await silent.join_room(ada.room, ada.keys.work, events=False)
        for _ in range(60):
            await ada.update(bytes(60_000))
        await ada.update(b"last")
        heard = await until(bob, lambda each: b"last" in _heard(each))
        assert heard is not None
        # All that was for it has come by, and nothing holds the runs of its client up.
        done = await silent.collect("python", code="print(1)")
        assert (done.stdout, bool(eve.buffer)) == (b"1\n", False)


async def test_a_client_that_is_closed_ends_its_rooms(server):
    async with Client(server.url) as client:
        room = await client.open_room()
        await until(room, a(Document))
    with pytest.raises(ConnectionLostError):
        await until(room, a(Update))


class Wire:
    """A connection that hears from its server what a test says."""

    held = False

    def __init__(self):
        self.sent = asyncio.Queue()
        self.heard = asyncio.Queue()

    async def send(self, text):
        self.sent.put_nowait(json.loads(text))

    async def receive(self):
        heard = await self.heard.get()
        if isinstance(heard, Exception):
            raise heard
        return json.dumps(heard)

    async def keep_alive(self):
        await asyncio.Event().wait()

    async def close(self):
        pass


async def test_a_room_that_is_asked_for_again_while_the_connection_breaks_off_is_asked_for_once(
    monkeypatch,
):
    monkeypatch.setattr(board, "AGAIN_S", 0.0)
    first, second = Wire(), Wire()
    wires, goes_on = iter((first, second)), asyncio.Event()

    async def connect():
        wire = next(wires)
        if wire is second:
            await goes_on.wait()
        return wire

    there = Board(connect, None)
    await there.link.open()
    room = Room(there.send, joining("r", "0" * 16, "work", "Bob", None), events=False)
    entering = asyncio.create_task(there.enter(room))
    async with asyncio.timeout(PATIENCE_S):
        await first.sent.get()
        now = {"type": "room", "room": "0" * 16, "people": [], "newcomers": "work"}
        joined = {"type": "joined", "id": "r", "room": "0" * 16, "you": "p", "seq": 0}
        first.heard.put_nowait(joined | {"now": now, "updates": [], "awareness": {}})
        await entering
        first.heard.put_nowait(
            {"type": "error", "id": "r", "code": "gate_unavailable", "message": "away"}
        )
        first.heard.put_nowait(ConnectionLostError("cut"))
        for _ in range(20):
            await asyncio.sleep(0)
        goes_on.set()
        await second.sent.get()
        for _ in range(20):
            await asyncio.sleep(0)
    assert second.sent.empty()
    await there.link.close()
