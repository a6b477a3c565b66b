"""Rooms over real sockets: who is there, what they may do, and their document."""

from types import SimpleNamespace

import pytest

from tests.rooms.people import enter, hear_kind, opened_by, packed
from wsrunner.errors import NoSuchRoomError, NotAllowedError, RoomsFullError, TooLargeError
from wsrunner.rooms.hall import Hall
from wsrunner.runs.job import Allowance, Principal
from wsrunner.settings import Settings
from wsrunner.words import rooms as words


async def test_two_people_see_each_other_and_what_each_changes(server):
    async with server.talk() as ada, server.talk() as bob:
        opened, first = await opened_by(ada)
        await ada.say("update", base64=packed(b"one"))
        own = await hear_kind(ada, "update")
        assert own["seq"] == 1
        assert "base64" not in own
        joined = await enter(bob, opened, "work", "Bob")
        assert joined["updates"] == [packed(b"one")]
        assert [(p["name"], p["role"], p["number"]) for p in joined["now"]["people"]] == [
            ("Ada", "own", 0),
            ("Bob", "work", 1),
        ]
        now = await hear_kind(ada, "room", lambda event: len(event["people"]) == 2)
        assert now["people"][1]["person"] == joined["you"]
        await bob.say("update", base64=packed(b"two"))
        heard = await hear_kind(ada, "update")
        assert (heard["base64"], heard["person"]) == (packed(b"two"), joined["you"])
        await ada.say("awareness", base64=packed(b"here"))
        heard = await hear_kind(bob, "awareness")
        assert (heard["base64"], heard["person"]) == (packed(b"here"), first["you"])
        await bob.say("hand")
        await hear_kind(ada, "room", lambda event: event["people"][1]["hand"])
        await bob.say("leave")
        assert (await hear_kind(bob, "left"))["reason"] == "left"
        await hear_kind(ada, "room", lambda event: len(event["people"]) == 1)


async def test_who_watches_changes_nothing_until_the_owner_lets_them(server):
    async with server.talk() as ada, server.talk() as eve:
        opened, _ = await opened_by(ada)
        joined = await enter(eve, opened, "watch", "Eve")
        for kind, fields in (
            ("update", {"base64": packed(b"x")}),
            ("grant", {"role": "work"}),
            ("close", {}),
        ):
            await eve.say(kind, **fields)
            assert (await hear_kind(eve, "error"))["code"] == "not_allowed"
        await ada.say("grant", person=joined["you"], role="work")
        await hear_kind(eve, "room", lambda event: event["people"][1]["role"] == "work")
        await eve.say("update", base64=packed(b"x"))
        assert (await hear_kind(ada, "update"))["base64"] == packed(b"x")
        await ada.say("grant", role="watch")
        await hear_kind(eve, "room", lambda event: event["people"][1]["role"] == "watch")
        await eve.say("leave")
        await hear_kind(eve, "left")
        later = await enter(eve, opened, "work")
        assert later["now"]["people"][1]["role"] == "watch"


async def test_a_wrong_key_and_a_room_that_is_not_there_are_one_answer(server):
    async with server.talk() as ada, server.talk() as eve:
        opened, _ = await opened_by(ada)
        await eve.say("join", room=opened["room"], key="guessed")
        wrong = await eve.hear_error()
        await eve.say("join", room="0" * 16, key=opened["work"])
        absent = await eve.hear_error()
        assert (wrong["code"], wrong["path"]) == (absent["code"], absent["path"])
        assert wrong["code"] == "no_such_room"


async def test_a_room_outlives_its_owner_who_comes_back_as_who_they_were(server):
    once = "a" * 16
    async with server.talk() as bob:
        async with server.talk() as ada:
            opened, first = await opened_by(ada, once=once)
            await enter(bob, opened, "work", "Bob")
        await hear_kind(bob, "room", lambda event: len(event["people"]) == 1)
        await bob.say("update", base64=packed(b"alone"))
        await hear_kind(bob, "update")
        async with server.talk() as ada, server.talk() as other:
            back = await enter(ada, opened, "own", "Ada", once)
            assert back["you"] == first["you"]
            assert back["updates"] == [packed(b"alone")]
            await enter(other, opened, "own", "Ada", once)
            assert (await hear_kind(ada, "left"))["reason"] == "elsewhere"
            await other.say("close")
            for talk in (other, bob):
                assert (await hear_kind(talk, "left"))["reason"] == "closed"
            await bob.say("join", room=opened["room"], key=opened["work"])
            assert (await hear_kind(bob, "error"))["code"] == "no_such_room"


async def test_what_is_too_much_is_refused_with_value_and_limit(start_server):
    serving = start_server(rooms=1, room_people=2, room_kb=128, room_messages_per_s=100)
    queue = {"max_queue": None}  # who does not read is to be closed all the same
    async with (
        serving.talk(**queue) as ada,
        serving.talk(**queue) as bob,
        serving.talk() as eve,
    ):
        opened, _ = await opened_by(ada)
        await bob.say("open")
        error = await bob.hear_error()
        assert (error["code"], "the limit is 1 rooms" in error["message"]) == ("rooms_full", True)
        await enter(bob, opened, "work")
        await eve.say("join", room=opened["room"], key=opened["watch"])
        error = await eve.hear_error()
        assert (error["code"], "the limit is 2 people" in error["message"]) == ("rooms_full", True)
        await bob.say("update", base64=packed(bytes(65_537)))
        error = await hear_kind(bob, "error")
        assert error["code"] == "too_large"
        assert "65537 bytes; the limit is 65536 bytes" in error["message"]
        await bob.say("update", base64="no base64")
        assert (await hear_kind(bob, "error"))["path"] == "$.base64"
        await bob.say("awareness", base64=packed(bytes(4097)))
        assert "the limit is 4096 bytes" in (await hear_kind(bob, "error"))["message"]
        for _ in range(2):
            await bob.say("update", base64=packed(bytes(60_000)))
        await bob.say("update", base64=packed(bytes(60_000)))
        assert "the limit is 131072 bytes" in (await hear_kind(bob, "error"))["message"]
        hand = {"type": "hand"}
        await bob.say_together(*[hand] * 1200)
        error = await hear_kind(bob, "error")
        assert (error["code"], error["retry_after_s"] > 0) == ("rate_limited", True)


async def test_whom_the_server_asks_replaces_all_changes_by_one(server):
    async with server.talk() as ada, server.talk() as bob:
        opened, _ = await opened_by(ada)
        await enter(bob, opened, "work")
        await bob.say("update", base64=packed(b"evil"), replaces=0)
        assert (await hear_kind(bob, "error"))["code"] == "not_allowed"
        for number in range(200):
            await ada.say("update", base64=packed(b"%d" % number))
        asked = await hear_kind(ada, "compact")
        assert asked["seq"] == 200
        await bob.say("update", base64=packed(b"behind"))
        await hear_kind(ada, "update", lambda event: event["seq"] == 201)
        await ada.say("update", base64=packed(b"all"), replaces=asked["seq"])
        await ada.say("hand")
        await hear_kind(ada, "room", lambda event: event["people"][0]["hand"])
        await bob.say("leave")
        await hear_kind(bob, "left")
        late = await enter(bob, opened, "work")
        assert (late["seq"], late["updates"]) == (201, [packed(b"all"), packed(b"behind")])


async def test_who_reads_nothing_holds_nobody_up_and_hears_all_there_is_later(start_server):
    serving = start_server(room_messages_per_s=1000)
    async with serving.talk() as ada, serving.talk() as slow:
        opened, _ = await opened_by(ada)
        await enter(slow, opened, "watch")
        data = packed(bytes(60_000))
        # Far more than sockets and a seat hold.
        for number in range(1, 151):
            await ada.say("update", base64=data)
            while (event := await ada.hear())["type"] != "update":
                if event["type"] == "compact":
                    await ada.say("update", base64=packed(b"all"), replaces=event["seq"])
            assert event["seq"] == number
        heard = [await slow.hear()]
        while heard[-1].get("seq") != 150:
            heard.append(await slow.hear())
        assert {event["type"] for event in heard} == {"joined", "update"}


async def test_messages_for_rooms_and_runs_do_not_mix(server):
    async with server.talk() as ada:
        await opened_by(ada)
        await ada.say("eof")
        error = await hear_kind(ada, "error")
        assert (error["code"], error["path"]) == ("bad_message", "$.id")
        await ada.say("update", id="x", base64="")
        assert (await hear_kind(ada, "error"))["code"] == "no_such_run"


@pytest.mark.parametrize("fields", [{"name": "n" * 41}, {"once": "short"}, {"colour": "red"}])
async def test_a_room_is_opened_by_what_is_right_only(server, fields):
    async with server.talk() as ada:
        await ada.say("open", **fields)
        assert (await ada.hear_error())["code"] == "bad_message"


# Without sockets.


@pytest.fixture
def hall():
    return Hall(SimpleNamespace(settings=Settings(room_kb=64), draining=False))


TUTOR = Principal("a", "school", may=Allowance(rooms=1))


async def test_a_tenant_has_its_own_number_of_rooms(hall):
    first = await hall.open(TUTOR, "", "Ada", "1")
    with pytest.raises(RoomsFullError, match="1 rooms of this tenant are open; the limit is 1"):
        await hall.open(TUTOR, "", "Ada", "2")
    await hall.open(Principal("a", "shop", may=Allowance(rooms=1)), "", "Eve", "3")
    first.close()
    await hall.open(TUTOR, "", "Ada", "4")


async def test_who_has_a_token_for_watching_watches_with_every_key(hall):
    tutor = await hall.open(TUTOR, "", "Ada", "1")
    room = tutor.room
    watching = Principal("b", "school", subject="bob", drives=False)
    with pytest.raises(NotAllowedError, match="for watching"):
        await hall.open(watching, "", "Bob", "2")
    bob = await hall.join(watching, room.id, room.keys.own, "Bob", "2")
    assert bob.person.role == "watch"
    tutor.grant(bob.person.person, "work")
    with pytest.raises(NotAllowedError):
        bob.update(b"x", None)


async def test_a_token_for_one_room_opens_that_alone(hall):
    room = (await hall.open(TUTOR, "", "Ada", "1")).room
    guest = Principal("b", "school", subject="bob", room=room.id)
    await hall.join(guest, room.id, room.keys.work, "Bob", "2")
    other = (await hall.open(Principal("c", "shop"), "", "Eve", "3")).room
    with pytest.raises(NotAllowedError, match=room.id):
        await hall.join(guest, other.id, other.keys.work, "Bob", "2")
    with pytest.raises(NotAllowedError, match=room.id):
        await hall.open(guest, "", "Bob", "4")


async def test_a_full_document_is_made_smaller_by_who_comes_though_the_one_asked_has_gone(hall):
    tutor = await hall.open(Principal("a"), "", "Ada", "1")
    for _ in range(8):
        tutor.update(b"x" * 8000, None)
    tutor.leave()
    bob = await hall.join(Principal("b"), tutor.room.id, tutor.room.keys.work, "Bob", "2")
    with pytest.raises(TooLargeError):
        bob.update(b"x" * 8000, None)
    joined, asked = await bob.next()
    assert (joined.seq, asked) == (8, words.Compact(room=bob.room.id, seq=8))
    bob.update(b"all of it", 8)
    bob.update(b"x" * 8000, None)


async def test_who_has_left_leaves_nothing_behind(hall):
    tutor = await hall.open(Principal("a"), "", "Ada", "1")
    bob = await hall.join(Principal("b"), tutor.room.id, tutor.room.keys.work, "Bob", "2")
    bob.awareness(b"here")
    bob.leave()
    for do in (lambda: bob.awareness(b"there"), lambda: bob.update(b"x", None)):
        with pytest.raises(NoSuchRoomError, match="has left"):
            do()
    joined = (await tutor.next())[0]
    assert (joined.awareness, joined.updates) == ({}, [])


async def test_who_comes_back_after_leaving_has_the_role_and_the_hand_of_before(server):
    once = "a" * 16
    async with server.talk() as ada, server.talk() as bob:
        opened, _ = await opened_by(ada)
        joined = await enter(bob, opened, "work", "Bob", once)
        await bob.say("hand")
        await ada.say("grant", person=joined["you"], role="watch")
        await hear_kind(bob, "room", lambda event: event["people"][1]["role"] == "watch")
        await bob.say("leave")
        await hear_kind(bob, "left")
        again = await enter(bob, opened, "work", "Bob", once)
        assert again["you"] == joined["you"]
        assert again["now"]["people"][1]["role"] == "watch"
        assert again["now"]["people"][1]["hand"]
        # What is granted to all, is to who is away, too.
        await bob.say("leave")
        await hear_kind(bob, "left")
        await ada.say("grant", role="work")
        await hear_kind(ada, "room")
        again = await enter(bob, opened, "work", "Bob", once)
        assert again["now"]["people"][1]["role"] == "work"
        # Somebody else with that key is what it makes of newcomers.
        async with server.talk() as cid:
            other = await enter(cid, opened, "work", "Cid", "b" * 16)
            assert other["now"]["people"][2]["role"] == "work"
