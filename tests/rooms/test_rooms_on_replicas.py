"""Rooms over several servers that share one Redis: any of them will do, and none is needed."""

import asyncio
import signal

import pytest

from tests.rooms.people import (
    attach_in,
    ended,
    enter,
    has_run,
    hear_kind,
    names,
    opened_by,
    packed,
    refused,
    run_in,
)
from tests.serving import SHORT_LEASE_S
from wsrunner.client import Client

ADA, BOB = "a" * 16, "b" * 16


async def edit(talk, data):
    """Send a change; return its number once it has come."""
    await talk.say("update", base64=packed(data))
    return (await hear_kind(talk, "update", lambda event: "base64" not in event))["seq"]


async def hear_edit(talk, data):
    """Hear until this change has come; return its number."""
    told = await hear_kind(talk, "update", lambda event: event.get("base64") == packed(data))
    return told["seq"]


async def hear_people(talk, *wanted):
    """Hear until just these are in the room."""
    return await hear_kind(talk, "room", lambda event: names(event) == list(wanted))


async def test_people_on_three_servers_see_each_other_and_what_each_changes(replicas):
    one, two, three = replicas(3)
    async with one.talk() as ada, two.talk() as bob, three.talk() as cid:
        opened, _ = await opened_by(ada)
        assert await edit(ada, b"one") == 1
        joined = await enter(bob, opened, "work", "Bob")
        assert joined["updates"] == [packed(b"one")]
        assert names(joined["now"]) == ["Ada", "Bob"]
        other = await enter(cid, opened, "watch", "Cid")
        await hear_people(ada, "Ada", "Bob", "Cid")
        assert await edit(bob, b"two") == 2
        assert await hear_edit(ada, b"two") == await hear_edit(cid, b"two") == 2
        await cid.say("awareness", base64=packed(b"here"))
        aware = await hear_kind(bob, "awareness")
        assert (aware["person"], aware["base64"]) == (other["you"], packed(b"here"))
        await cid.say("hand")
        await hear_kind(bob, "room", lambda event: event["people"][2]["hand"])
        await cid.say("leave")
        assert (await hear_kind(cid, "left"))["reason"] == "left"
        await hear_people(ada, "Ada", "Bob")
        await bob.say("close")
        assert (await hear_kind(bob, "error"))["code"] == "not_allowed"
        await enter(cid, opened, "own", "Cid")
        await cid.say("close")
        for talk in (ada, bob, cid):
            assert (await hear_kind(talk, "left"))["reason"] == "closed"
        for talk in (ada, bob):
            await talk.say("join", room=opened["room"], key=opened["work"])
            assert (await hear_kind(talk, "error"))["code"] == "no_such_room"


async def test_all_see_the_changes_of_two_servers_once_and_in_one_order(replicas):
    one, two, three = replicas(3, room_messages_per_s=1000)
    queue = {"max_queue": None}
    async with one.talk(**queue) as ada, two.talk(**queue) as bob, three.talk() as cid:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work", "Bob")
        await enter(cid, opened, "watch", "Cid")

        async def write(talk, name):
            for number in range(200):
                await talk.say("update", base64=packed(f"{name}{number}".encode()))

        async def read(talk):
            return [await hear_kind(talk, "update") for _ in range(400)]

        _, _, *heard = await asyncio.gather(
            write(ada, "a"), write(bob, "b"), read(ada), read(bob), read(cid)
        )
        told = [event["base64"] for event in heard[2]]
        wanted = {packed(f"{name}{number}".encode()) for name in "ab" for number in range(200)}
        assert set(told) == wanted
        for events in heard:
            assert [event["seq"] for event in events] == list(range(1, 401))
            both = zip(events, told, strict=True)
            assert all(event.get("base64", data) == data for event, data in both)


async def test_what_is_refused_elsewhere_is_told_with_value_and_limit(replicas):
    one, two = replicas(2, room_people=2, room_kb=128)
    async with one.talk() as ada, two.talk() as bob, two.talk() as eve:
        opened, first = await opened_by(ada)
        await enter(bob, opened, "work", "Bob", id="r")

        async def refuses(kind, **fields):
            await bob.say(kind, id="r", **fields)
            error = await hear_kind(bob, "error")
            assert error["id"] == "r"
            return error

        error = await refuses("update", base64=packed(bytes(65_537)))
        assert (error["code"], error["path"]) == ("too_large", "$.base64")
        error = await refuses("update", base64=packed(b"evil"), replaces=0)
        assert error["code"] == "not_allowed"
        error = await refuses("grant", role="watch")
        assert "only who may own can grant" in error["message"]
        await edit(ada, bytes(60_000))
        await edit(ada, bytes(60_000))
        error = await refuses("update", base64=packed(bytes(60_000)))
        assert "the limit is 131072 bytes" in error["message"]
        await eve.say("join", room=opened["room"], key=opened["watch"])
        error = await eve.hear_error()
        assert (error["code"], "the limit is 2 people" in error["message"]) == ("rooms_full", True)
        await eve.say("join", room=opened["room"], key="guessed")
        wrong = await eve.hear_error()
        await eve.say("join", room="0" * 16, key=opened["work"])
        absent = await eve.hear_error()
        assert wrong["code"] == absent["code"] == "no_such_room"
        await ada.say("grant", person=first["you"], role="watch")
        assert (await hear_kind(ada, "error"))["path"] == "$.person"


async def test_a_right_that_is_taken_elsewhere_counts_for_a_run_on_a_third_server(replicas):
    one, two, three = replicas(3, slots=2)
    async with one.talk() as ada, two.talk() as bob, three.talk() as cid:
        opened, _ = await opened_by(ada, id="r")
        joined = await enter(bob, opened, "watch", "Bob", id="r")
        await enter(cid, opened, "work", "Cid", id="r")
        run = (await run_in(cid, opened["room"]))["run"]
        await has_run(bob, run, over=False)
        assert (await attach_in(bob, opened["room"], run))["role"] == "view"
        await bob.say("run", id="y", room=opened["room"], language="python", code="")
        assert (await refused(bob, "y"))["code"] == "not_allowed"
        for number in range(20):
            await bob.say("stdin", id="x", data="no")
            assert (await refused(bob))["code"] == "not_allowed"
            await ada.say("grant", id="r", person=joined["you"], role="work")
            await _has_role(bob, "work")
            await bob.say("stdin", id="x", data=f"{number}\n")
            await cid.hear_output(f"got {number}\n", "x")
            await ada.say("grant", id="r", person=joined["you"], role="watch")
            await _has_role(bob, "watch")
        await hear_kind(ada, "typed", lambda event: event["person"] == joined["you"])
        await cid.say("eof", id="x")
        assert (await ended(cid))[0]["code"] == 0
        await has_run(ada, run, over=True)


async def _has_role(talk, role):
    await hear_kind(talk, "room", lambda event: event["people"][1]["role"] == role)


async def test_who_comes_on_another_server_is_the_same_person_there(replicas):
    one, two, three = replicas(3)
    async with one.talk() as ada, two.talk() as bob, three.talk() as other:
        opened, _ = await opened_by(ada)
        joined = await enter(bob, opened, "work", "Bob", BOB)
        again = await enter(other, opened, "work", "Bob", BOB)
        assert again["you"] == joined["you"]
        assert (await hear_kind(bob, "left"))["reason"] == "elsewhere"
        await edit(other, b"there")
        await hear_edit(ada, b"there")
        again = await enter(bob, opened, "work", "Bob", BOB)
        assert names(again["now"]) == ["Ada", "Bob"]
        assert (await hear_kind(other, "left"))["reason"] == "elsewhere"


async def test_somebody_elsewhere_replaces_all_changes_by_one(replicas):
    one, two = replicas(2, room_messages_per_s=1000)
    async with two.talk() as bob:
        async with one.talk() as ada:
            opened, _ = await opened_by(ada)
            await enter(bob, opened, "work", "Bob")
        await hear_people(bob, "Bob")
        for number in range(200):
            await bob.say("update", base64=packed(b"%d" % number))
        asked = await hear_kind(bob, "compact")
        assert asked["seq"] == 200
        assert await edit(bob, b"behind") == 201
        await bob.say("update", base64=packed(b"all"), replaces=200)
        assert await edit(bob, b"last") == 202
        async with one.talk() as late:
            joined = await enter(late, opened, "watch")
        assert joined["updates"] == [packed(each) for each in (b"all", b"behind", b"last")]


async def test_a_link_is_enough_on_every_server(replicas):
    one, two = replicas(2, token="secret", slots=2)
    header = {"X-Access-Token": "secret"}
    async with one.talk(additional_headers=header) as ada:
        opened, _ = await opened_by(ada)
        link = {"X-Access-Token": f"room.{opened['room']}.{opened['work']}"}
        async with two.talk(additional_headers=link) as bob:
            await enter(bob, opened, "work", "Bob", id="r")
            run = (await run_in(bob, opened["room"]))["run"]
            await has_run(ada, run, over=False)
            await bob.say("eof", id="x")
            assert (await ended(bob))[0]["code"] == 0


# Servers that go away.


async def test_a_room_goes_on_when_its_home_dies(servers):
    one, two, three = servers(3)
    async with two.talk() as bob, three.talk() as cid:
        async with one.talk() as ada:
            opened, _ = await opened_by(ada, once=ADA)
            await enter(bob, opened, "work", "Bob", BOB)
            joined = await enter(cid, opened, "work", "Cid")
            await edit(ada, b"one")
            await ada.say("grant", person=joined["you"], role="watch")
            await hear_kind(cid, "room", lambda event: event["people"][2]["role"] == "watch")
            await hear_edit(bob, b"one")
            one.kill()
        await bob.say("update", base64=packed(b"two"))
        for talk in (bob, cid):
            all_there = await hear_kind(talk, "joined")
            assert all_there["updates"][:1] == [packed(b"one")]
            assert [(p["name"], p["role"]) for p in all_there["now"]["people"]][-2:] == [
                ("Bob", "work"),
                ("Cid", "watch"),
            ]
        seq = await edit(bob, b"three")
        assert await hear_edit(cid, b"three") == seq > 1
        async with three.talk() as ada:
            back = await enter(ada, opened, "own", "Ada", ADA)
            assert [(p["name"], p["role"]) for p in back["now"]["people"]] == [
                ("Ada", "own"),
                ("Bob", "work"),
                ("Cid", "watch"),
            ]
            await ada.say("grant", person=joined["you"], role="work")
            await hear_kind(cid, "room", lambda event: event["people"][2]["role"] == "work")
            await edit(cid, b"four")
            await hear_edit(bob, b"four")
    one.start()


async def test_a_room_whose_only_server_died_is_there_again_with_who_comes(servers):
    one, two, three = servers(3)
    async with one.talk() as ada:
        opened, first = await opened_by(ada, once=ADA)
        await edit(ada, b"one")
        # What is there is in Redis when it is so elsewhere.
        async with two.talk() as bob:
            await enter(bob, opened, "watch", "Bob")
        await hear_people(ada, "Ada")
        one.kill()
    async with three.talk() as ada:
        back = await enter(ada, opened, "own", "Ada", ADA)
        assert (back["you"], back["updates"]) == (first["you"], [packed(b"one")])
        assert await edit(ada, b"two") == 2
        async with two.talk() as bob:
            joined = await enter(bob, opened, "work", "Bob")
            assert joined["updates"] == [packed(b"one"), packed(b"two")]
    one.start()


async def test_a_server_that_stops_leaves_its_rooms_to_the_others(replicas):
    one, two = replicas(2)
    async with two.talk() as bob:
        async with one.talk() as ada, one.talk() as eve:
            opened, _ = await opened_by(ada, once=ADA)
            other, _ = await opened_by(eve)
            await edit(eve, b"alone")
            await enter(bob, opened, "work", "Bob")
            await edit(ada, b"one")
            # Long before its lease, which it gives up, would end.
            await asyncio.to_thread(one.stop)
        joined = await hear_kind(bob, "joined")
        assert joined["updates"] == [packed(b"one")]
        assert names(joined["now"]) == ["Bob"]
        assert await edit(bob, b"two") == 2
        async with two.talk() as ada:
            assert names((await enter(ada, opened, "own", "Ada", ADA))["now"]) == ["Ada", "Bob"]
            assert (await enter(ada, other, "work", id="s"))["updates"] == [packed(b"alone")]
    one.start()


async def test_a_home_that_stood_still_finds_that_another_one_is(servers):
    one, two = servers(2)
    async with one.talk() as ada, two.talk() as bob:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work", "Bob")
        await edit(ada, b"one")
        await hear_edit(bob, b"one")
        one.signal(signal.SIGSTOP)
        try:
            assert names((await hear_kind(bob, "joined"))["now"]) == ["Bob"]
            assert await edit(bob, b"two") == 2
            # What only the old home knows is not the room's: who wrote it hears what is.
            await ada.say("update", base64=packed(b"lost"))
        finally:
            one.signal(signal.SIGCONT)
        joined = await hear_kind(ada, "joined")
        assert joined["updates"] == [packed(b"one"), packed(b"two")]
        assert sorted(names(joined["now"])) == ["Ada", "Bob"]
        assert await edit(ada, b"three") == 3
        assert await hear_edit(bob, b"three") == 3


async def test_people_of_a_server_that_dies_are_gone_and_its_runs_over(servers):
    one, two, three = servers(3)
    async with one.talk() as ada, two.talk() as bob:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work", "Bob")
        async with three.talk() as cid:
            await enter(cid, opened, "work", "Cid", id="r")
            run = (await run_in(cid, opened["room"]))["run"]
            await has_run(ada, run, over=False)
            three.kill()
        await hear_people(bob, "Ada", "Bob")
        await has_run(bob, run, over=True)
        await attach_in(bob, opened["room"], run)
        assert (await ended(bob))[0]["reason"] == "replica_lost"
    three.start()


@pytest.mark.parametrize("keep_data", [True, False])
async def test_rooms_go_on_over_a_restart_of_redis(servers, redis, keep_data):
    one, two, three = servers(3)
    async with one.talk() as ada, two.talk() as bob:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work", "Bob")
        await edit(bob, b"one")
        await hear_edit(ada, b"one")
        await asyncio.to_thread(redis.restart, keep_data=keep_data)
        seq = await edit(ada, b"two")
        await _has_all(bob, [b"one", b"two"])
        await bob.say("update", base64=packed(b"three"))
        assert await hear_edit(ada, b"three") == seq + 1
        async with three.talk() as cid:
            joined = await enter(cid, opened, "work", "Cid")
            assert joined["updates"] == [packed(each) for each in (b"one", b"two", b"three")]
            assert names(joined["now"]) == ["Ada", "Bob", "Cid"]


async def _has_all(talk, updates):
    """Hear until all of these have come, one by one or together."""
    wanted, has = [packed(each) for each in updates], [packed(updates[0])]
    while has != wanted:
        event = await talk.hear()
        if event["type"] == "joined":
            has = event["updates"]
        elif event["type"] == "update" and "base64" in event:
            has.append(event["base64"])


async def test_the_client_comes_back_to_its_room_on_another_server(servers):
    one, two = servers(2)
    async with Client(two.url) as student, Client(one.url) as tutor:
        ada = await tutor.open_room(name="Ada", events=False)
        bob = await student.join_room(ada.room, ada.keys.work, name="Bob")
        await ada.update(b"one")
        documents = (each async for each in bob if hasattr(each, "updates"))
        await anext(documents)
        one.kill()
        async with asyncio.timeout(SHORT_LEASE_S * 20):
            again = await anext(documents)
        assert list(again.updates) in ([b"one"], [])
        await bob.update(b"two")
        await bob.leave()
    one.start()
