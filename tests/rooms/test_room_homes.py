"""Rooms whose homes change: nobody stays who has gone, and no room is left without one."""

import asyncio
import re
import signal

from tests.rooms.people import (
    ended,
    enter,
    has_run,
    hear_kind,
    names,
    opened_by,
    packed,
    run_in,
)
from tests.serving import until

ADA, BOB = "a" * 16, "b" * 16


async def comes_to(talk, matches):
    """Hear until the room is such, unless it was when it was told of last."""
    told = [e for events in talk.heard.values() for e in events if e["type"] in {"joined", "room"}]
    while not told or not matches(told[-1].get("now", told[-1])):
        event = await talk.hear()
        told += [event] if event["type"] in {"joined", "room"} else []


async def only(talk, name):
    """Hear until nobody is in the room but this one."""
    await comes_to(talk, lambda now: names(now) == [name])


async def tells_of(talk, *runs):
    """Hear until the room has just these runs: their ids, and whether they are over."""
    await comes_to(
        talk, lambda now: [(each["run"], each["over"]) for each in now.get("runs", [])] == [*runs]
    )


async def test_who_left_while_the_home_was_dead_is_gone_from_the_next_one(servers):
    one, two = servers(2)
    async with one.talk() as ada, two.talk() as cid:
        opened, _ = await opened_by(ada)
        async with two.talk() as bob:
            await enter(bob, opened, "work", "Bob")
            await enter(cid, opened, "work", "Cid")
            one.kill()
            # Its letter is the last home's, which reads no more.
            await bob.say("leave")
            await hear_kind(bob, "left")
        await only(cid, "Cid")
    one.start()


async def test_a_room_taken_over_by_who_has_no_one_in_it_keeps_nobody(servers):
    one, two = servers(2)
    async with one.talk() as ada:
        opened, _ = await opened_by(ada)
        async with two.talk() as bob:
            await enter(bob, opened, "work", "Bob")
            one.signal(signal.SIGSTOP)
            await bob.say("leave")
            await hear_kind(bob, "left")
        one.kill()
    async with two.talk() as cid:
        joined = await enter(cid, opened, "work", "Cid")
        assert "Cid" in names(joined["now"])
        await only(cid, "Cid")
    one.start()


async def test_a_server_that_hears_late_of_a_vacant_room_leaves_it_to_its_new_home(replicas):
    one, two, three = replicas(3, slots=2)
    async with two.talk() as bob, three.talk() as cid:
        async with one.talk() as ada:
            opened, _ = await opened_by(ada)
            await enter(bob, opened, "work", "Bob", id="r")
            await enter(cid, opened, "work", "Cid")
            run = (await run_in(bob, opened["room"]))["run"]
            await has_run(cid, run, over=False)
            three.signal(signal.SIGSTOP)
            try:
                # What it waited for comes, so that it reads the rest in one.
                await ada.say("update", base64=packed(b"one"))
                await hear_kind(bob, "update")
                await asyncio.to_thread(one.stop)
                await hear_kind(bob, "joined")
                await bob.say("update", id="r", base64=packed(b"two"))
                await hear_kind(bob, "update")
            finally:
                three.signal(signal.SIGCONT)
        there = await hear_kind(cid, "joined")
        assert [each["over"] for each in there["now"]["runs"]] == [False]
        await cid.say("update", base64=packed(b"three"))
        heard = []
        while not heard or heard[-1].get("base64") != packed(b"three"):
            heard.append(await bob.hear())
        assert "joined" not in [each["type"] for each in heard]
        assert all(not run["over"] for each in heard for run in each.get("runs", []))
        await bob.say("eof", id="x")
        await has_run(cid, run, over=True)
    one.start()


async def test_a_server_that_broke_off_while_it_took_a_room_over_is_its_home_all_the_same(
    replicas, redis
):
    one, two = replicas(2)
    async with one.talk() as ada:
        opened, _ = await opened_by(ada)
        await ada.say("update", base64=packed(b"one"))
        await hear_kind(ada, "update")
    one.stop()
    there = redis.command("KEYS", "*:live:replica:*").split()
    (two_s,) = {each.rpartition(":")[2] for each in there if ":replica:" in each}
    redis.command("HSET", f"{{wsrunner}}:live:room:{opened['room']}", "home", two_s)
    async with two.talk() as bob:
        joined = await enter(bob, opened, "work", "Bob")
        assert joined["updates"] == [packed(b"one")]
        await only(bob, "Bob")
    one.start()


async def test_a_run_that_ends_while_the_home_is_dead_is_over_at_the_next_one(servers):
    one, two = servers(2)
    async with one.talk() as ada, two.talk() as bob:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work", "Bob", id="r")
        run = (await run_in(bob, opened["room"]))["run"]
        await tells_of(bob, (run, False))
        one.kill()
        await bob.say("eof", id="x")
        assert (await ended(bob))[0]["code"] == 0
        await only(bob, "Bob")
        await tells_of(bob, (run, True))
    one.start()


async def test_a_run_that_begins_while_the_home_is_dead_is_the_next_one_s(servers):
    one, two, three = servers(3)
    async with one.talk() as ada, two.talk() as bob, three.talk() as cid:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work", "Bob", id="r")
        await enter(cid, opened, "work", "Cid", id="r")
        one.kill()
        runs = {(await run_in(talk, opened["room"]))["run"] for talk in (bob, cid)}
        for talk in (bob, cid):
            await comes_to(talk, lambda now: {each["run"] for each in now.get("runs", [])} == runs)
        for talk in (bob, cid):
            await talk.say("eof", id="x")
            assert (await ended(talk))[0]["code"] == 0
        for talk in (bob, cid):
            await comes_to(talk, lambda now: all(each["over"] for each in now["runs"]))
    one.start()


async def test_a_run_whose_journal_ends_while_nobody_is_the_home_is_there_no_more(replicas, redis):
    one, two = replicas(2, slots=2, journal_s=1)
    async with one.talk() as ada, two.talk() as bob:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work", "Bob", id="r")
        accepted = await run_in(bob, opened["room"])
        run = accepted["run"]
        await tells_of(bob, (run, False))
        await bob.say("leave", id="r")
        await hear_kind(bob, "left")
        await ada.connection.close()
        await asyncio.to_thread(one.stop)
        await bob.say("attach", id="y", run=run, key=accepted["drive"])
        await hear_kind(bob, "attached")
        await bob.say("eof", id="y")
        await ended(bob, "y")
        record = f"{{wsrunner}}:live:run:{run}"
        await asyncio.to_thread(
            until, lambda: redis.command("EXISTS", record) == ":0\r\n", "its journal ends"
        )
        joined = await enter(bob, opened, "work", "Bob", id="r")
        assert [each["run"] for each in joined["now"]["runs"]] == [run]
        await tells_of(bob)
    one.start()


# A Redis that does not have all that it took.


async def test_changes_that_redis_has_lost_are_brought_back(servers, redis):
    one, two, three = servers(3)
    async with one.talk() as ada, two.talk() as bob, three.talk() as cid:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work", "Bob")
        for data in (b"one", b"two"):
            if data == b"two":
                redis.command("SAVE")
            await ada.say("update", base64=packed(data))
            await hear_kind(bob, "update")
        redis.stop(signal.SIGKILL)
        redis.start()
        await cid.say("join", room=opened["room"], key=opened["work"])
        await has_changes(cid, b"one", b"two")


async def has_changes(talk, *wanted):
    """Hear until these have come, one by one or together."""
    updates = []
    while updates != [packed(each) for each in wanted]:
        event = await talk.hear()
        if event["type"] == "joined":
            updates = event["updates"]
        elif event["type"] == "update" and "base64" in event:
            updates.append(event["base64"])


async def test_a_room_whose_entries_redis_has_given_up_is_brought_back(replicas, redis):
    one, two = replicas(2)
    async with one.talk() as ada, two.talk() as bob:
        opened, _ = await opened_by(ada)
        await ada.say("update", base64=packed(b"one"))
        await hear_kind(ada, "update")
        await enter(bob, opened, "work", "Bob")
        entries = f"{{wsrunner}}:live:entries:{opened['room']}"
        assert redis.command("DEL", entries) == ":1\r\n"
        await ada.say("update", base64=packed(b"two"))
        await asyncio.to_thread(
            until, lambda: redis.command("EXISTS", entries) == ":1\r\n", "they are there again"
        )
        async with two.talk() as cid:
            await bob.say("leave")
            await hear_kind(bob, "left")
            joined = await enter(cid, opened, "work", "Cid")
            assert joined["updates"] == [packed(b"one"), packed(b"two")]


async def test_what_a_full_redis_did_not_take_comes_when_there_is_room(replicas, redis):
    one, two = replicas(2)
    async with one.talk() as ada, two.talk() as bob:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work", "Bob")
        redis.command("CONFIG", "SET", "maxmemory", "1")
        await ada.say("update", base64=packed(b"one"))
        await hear_kind(ada, "update")
        await asyncio.to_thread(until, lambda: _refused(redis, "xadd"), "it was tried in vain")
        redis.command("CONFIG", "SET", "maxmemory", "0")
        await ada.say("update", base64=packed(b"two"))
        await has_changes(bob, b"one", b"two")


def _refused(redis, command):
    """Return how many commands of a kind Redis has not carried out."""
    found = re.search(
        rf"cmdstat_{command}:.*rejected_calls=(\d+)", redis.command("INFO", "commandstats")
    )
    return int(found[1])
