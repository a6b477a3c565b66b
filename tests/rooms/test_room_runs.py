"""Runs of a room: all who are there see them, and those type who may work there."""

import asyncio
import secrets

import pytest

from tests import http_talk
from tests.rooms.people import (
    ECHO,
    attach_in,
    ended,
    enter,
    has_heard,
    has_run,
    hear_kind,
    opened_by,
    refused,
    run_in,
)


@pytest.fixture
async def people(server):
    """Ada, who owns a room, Bob, who works in it, and Eve, who watches: name → socket; the room."""
    # Who does not read is to be closed all the same.
    queue = {"max_queue": None}
    async with (
        server.talk(**queue) as ada,
        server.talk(**queue) as bob,
        server.talk(**queue) as eve,
    ):
        opened, _ = await opened_by(ada, id="r")
        joined = {
            "bob": await enter(bob, opened, "work", "Bob", id="r"),
            "eve": await enter(eve, opened, "watch", "Eve", id="r"),
        }
        ids = {name: each["you"] for name, each in joined.items()}
        yield ada, bob, eve, opened["room"], ids


async def test_all_see_a_run_and_two_type_into_it_at_once(people):
    ada, bob, eve, room, ids = people
    accepted = await run_in(ada, room)
    now = await has_heard(bob, "room", lambda event: event["runs"])
    [run] = now["runs"]
    assert run == {
        "run": accepted["run"],
        "person": next(p["person"] for p in now["people"] if p["name"] == "Ada"),
        "name": "Ada",
        "language": "python",
        "over": False,
    }
    assert (await attach_in(bob, room, run["run"]))["role"] == "drive"
    assert (await attach_in(eve, room, run["run"]))["role"] == "view"
    await bob.hear_output("up\n", "x")
    await asyncio.gather(
        ada.say("stdin", id="x", data="one\n"), bob.say("stdin", id="x", data="two\n")
    )
    for talk in (ada, bob, eve):
        await talk.hear_output("got one\n", "x")
        await talk.hear_output("got two\n", "x")
    typed = await has_heard(ada, "typed")
    assert (typed["run"], typed["person"]) == (run["run"], ids["bob"])
    assert "one" not in str(typed)
    await bob.say("eof", id="x")
    for talk in (ada, bob, eve):
        assert (await ended(talk))[0]["code"] == 0
        await has_run(talk, run["run"], over=True)


async def test_who_watches_does_nothing_to_a_run(people):
    ada, _, eve, room, _ = people
    accepted = await run_in(ada, room)
    await attach_in(eve, room, accepted["run"])
    for kind, fields in (
        ("stdin", {"data": "no\n"}),
        ("eof", {}),
        ("signal", {"signal": "SIGKILL"}),
        ("resize", {"columns": 10, "rows": 10}),
        ("cancel", {}),
    ):
        await eve.say(kind, id="x", **fields)
        assert (await refused(eve))["code"] == "not_allowed"
    await eve.say("run", id="y", room=room, language="python", code="print(1)")
    assert (await refused(eve, "y"))["code"] == "not_allowed"
    await ada.say("eof", id="x")
    assert (await ended(ada))[1] == "up\nover\n"


async def test_a_right_that_is_taken_or_given_counts_at_once(people):
    ada, bob, _, room, ids = people
    accepted = await run_in(ada, room)
    await attach_in(bob, room, accepted["run"])
    for round_ in range(3):
        await ada.say("grant", id="r", person=ids["bob"], role="watch")
        await hear_kind(bob, "room", lambda event: event["people"][1]["role"] == "watch")
        await bob.say("stdin", id="x", data="taken\n")
        assert (await refused(bob))["code"] == "not_allowed"
        await ada.say("grant", id="r", person=ids["bob"], role="work")
        await hear_kind(bob, "room", lambda event: event["people"][1]["role"] == "work")
        await bob.say("stdin", id="x", data=f"given {round_}\n")
        line = f"got given {round_}\n"
        await has_heard(bob, "stdout", lambda event, line=line: line in event["data"])
    await ada.say("eof", id="x")
    _, printed = await ended(ada)
    assert "taken" not in printed
    assert printed.count("given") == 3


async def test_no_line_is_lost_or_doubled_while_rights_change(people):
    ada, bob, _, room, ids = people
    code = "print('up')\nimport time\nfor n in range(400): print(n); time.sleep(0.002)"
    accepted = await run_in(ada, room, code=code)
    await attach_in(bob, room, accepted["run"])
    for role in ("watch", "work") * 20:
        await ada.say("grant", id="r", person=ids["bob"], role=role)
        await asyncio.sleep(0.01)
    lines = "".join(f"{n}\n" for n in range(400))
    await has_heard(bob, "exit")
    heard = [e for e in bob.heard["x"] if e["type"] == "stdout"]
    assert "".join(event["data"] for event in heard) == f"up\n{lines}"


async def test_a_run_goes_on_when_who_started_it_has_gone(server, people):
    _, bob, _, room, _ = people
    async with server.talk() as cid:
        opened, _ = await opened_by(cid, "Cid", id="r")
        await enter(bob, opened, "work", "Bob", id="q")
        accepted = await run_in(cid, opened["room"])
        await attach_in(bob, opened["room"], accepted["run"])
        await bob.hear_output("up\n", "x")
    await hear_kind(bob, "room", lambda event: len(event["people"]) == 1)
    await bob.say("stdin", id="x", data="alone\n")
    await bob.hear_output("got alone\n", "x")
    await bob.say("eof", id="x")
    assert (await ended(bob))[0]["code"] == 0
    assert opened["room"] != room


async def test_who_leaves_or_is_sent_away_is_detached(people):
    ada, bob, eve, room, _ = people
    accepted = await run_in(ada, room)
    for talk in (bob, eve):
        await attach_in(talk, room, accepted["run"])
    await bob.say("leave", id="r")
    await hear_kind(bob, "detached", lambda event: event["id"] == "x")
    await bob.say("attach", id="x", room=room, run=accepted["run"])
    assert (await refused(bob))["code"] == "no_such_room"
    await ada.say("close", id="r")
    for talk in (ada, eve):
        await hear_kind(talk, "detached", lambda event: event["id"] == "x")
    # The keys of its starter open it yet.
    await ada.say("attach", id="y", run=accepted["run"], key=accepted["drive"])
    await ada.say("eof", id="y")
    assert (await ended(ada, "y"))[0]["code"] == 0


async def test_a_run_is_of_one_room_and_of_those_in_it(server, people):
    ada, bob, _, room, _ = people
    accepted = await run_in(ada, room)
    async with server.talk() as eve:
        await eve.say("attach", id="x", room=room, run=accepted["run"])
        assert (await refused(eve))["code"] == "no_such_room"
        await eve.say("run", id="x", room=room, language="python", code="print(1)")
        assert (await refused(eve))["code"] == "no_such_room"
        other, _ = await opened_by(eve, "Eve", id="r")
        await eve.say("attach", id="x", room=other["room"], run=accepted["run"])
        assert (await refused(eve))["code"] == "no_such_run"
        await eve.say("attach", id="x", room=other["room"], run="f" * 16)
        assert (await refused(eve))["code"] == "no_such_run"
    # Kept, but nobody's of the room.
    await bob.say("run", id="k", language="python", code=ECHO, keep_s=10)
    kept = await hear_kind(bob, "accepted", lambda event: event["id"] == "k")
    await ada.say("attach", id="y", room=room, run=kept["run"])
    assert (await refused(ada, "y"))["code"] == "no_such_run"
    for fields in ({}, {"room": room, "key": accepted["view"]}):
        await ada.say("attach", id="y", run=accepted["run"], **fields)
        error = await refused(ada, "y")
        assert (error["code"], error["path"]) == ("bad_message", "$.key")
    await bob.say("cancel", id="k")
    await ada.say("cancel", id="x")
    await ended(bob, "k")
    await ended(ada)


async def test_the_same_once_in_a_room_is_one_run(people):
    ada, _, _, room, _ = people
    once = secrets.token_hex(12)
    first = await run_in(ada, room, once=once)
    again = await run_in(ada, room, "y", once=once)
    assert again["run"] == first["run"]
    await ada.say("eof", id="y")
    await ended(ada, "y")
    now = await has_heard(ada, "room", lambda event: [e["over"] for e in event["runs"]] == [True])
    assert len(now["runs"]) == 1


async def test_a_run_that_is_refused_is_none_of_the_room(people):
    ada, bob, _, room, _ = people
    await ada.say("run", id="x", room=room, language="nonsense", code="x")
    assert (await refused(ada))["code"] == "unknown_language"
    accepted = await run_in(bob, room, "z")
    await has_heard(
        ada, "room", lambda event: [each["run"] for each in event["runs"]] == [accepted["run"]]
    )
    await bob.say("eof", id="z")
    await ended(bob, "z")


async def test_a_room_tells_of_so_many_runs_those_that_are_over_go_first(people):
    ada, _, _, room, _ = people
    going_on = await run_in(ada, room)
    for _ in range(17):
        await run_in(ada, room, "s", code="print('up')", keep_s=0)
        await ended(ada, "s")
    now = await has_heard(
        ada, "room", lambda event: sum(each["over"] for each in event["runs"]) == 15
    )
    assert len(now["runs"]) == 16
    assert now["runs"][0]["run"] == going_on["run"]
    await ada.say("eof", id="x")
    await ended(ada)


async def test_over_http_no_run_is_of_a_room(server, people):
    *_, room, _ = people
    body = {"language": "python", "code": "print(1)", "room": room}
    answer = await asyncio.to_thread(http_talk.post, server, "/v1/run", body)
    assert http_talk.refused(answer, 400, "bad_message")["path"] == "$.room"
