"""People who have a room's link and no account."""

import asyncio
import http.client
import json
import secrets

import pytest
from websockets.exceptions import InvalidStatus

from tests.rooms.people import enter, has_heard, opened_by

TOKEN = "the-access-token"
ASKS = "print('up')\nprint('got', input())"


@pytest.fixture
def guarded(start_server):
    """A server that wants a token."""
    return start_server(token=TOKEN, slots=2)


def by(server, token):
    """Return what opens a socket with a token."""
    return server.talk(subprotocols=["wsrunner.v1", f"wsrunner.token.{token}"])


def link(opened, role):
    return f"room.{opened['room']}.{opened[role]}"


def asked(server, path, token, body=None):
    """Ask for a path; return the status."""
    host, _, port = server.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("GET" if body is None else "POST", path, json.dumps(body or {}), headers)
    status = connection.getresponse().status
    connection.close()
    return status


async def test_a_link_is_all_that_it_takes_to_work_in_a_room(guarded):
    async with by(guarded, TOKEN) as ada:
        opened, _ = await opened_by(ada, id="r")
        async with by(guarded, link(opened, "work")) as bob:
            await enter(bob, opened, "work", "Bob", id="r")
            await bob.say("update", id="r", base64="AQ==")
            assert (await has_heard(ada, "update"))["base64"] == "AQ=="
            run = {"language": "python", "code": ASKS, "room": opened["room"]}
            await bob.say("run", id="x", **run)
            accepted = await has_heard(bob, "accepted")
            await ada.say("attach", id="y", room=opened["room"], run=accepted["run"])
            await has_heard(ada, "stdout", lambda event: "up" in event["data"])
            await ada.say("stdin", id="y", data="hers\n")
            await has_heard(bob, "stdout", lambda event: "got hers" in event["data"])
            await has_heard(bob, "exit")
    status = await asyncio.to_thread(asked, guarded, "/v1/languages", link(opened, "watch"))
    assert status == 200


async def test_it_opens_nothing_but_that_room(guarded):
    async with by(guarded, TOKEN) as ada:
        opened, _ = await opened_by(ada, id="r")
        other, _ = await opened_by(ada, "Ada", id="s")
        run = {"language": "python", "code": "print(1)"}
        await ada.say("run", id="k", keep_s=5, **run)
        kept = await has_heard(ada, "accepted")
        async with by(guarded, link(opened, "work")) as eve:
            await enter(eve, opened, "work", "Eve", id="r")
            for kind, fields, code in (
                ("run", run, "not_allowed"),
                ("run", {**run, "keep_s": 5}, "not_allowed"),
                ("run", {**run, "room": opened["room"], "workspace": "w"}, "not_allowed"),
                ("run", {**run, "room": other["room"]}, "no_such_room"),
                ("attach", {"run": kept["run"], "key": kept["view"]}, "not_allowed"),
                ("attach", {"run": kept["run"], "room": opened["room"]}, "no_such_run"),
                ("open", {}, "not_allowed"),
                ("join", {"room": other["room"], "key": other["work"]}, "not_allowed"),
                ("forget", {"workspace": "w"}, "not_allowed"),
            ):
                id_ = secrets.token_hex(4)
                await eve.say(kind, id=id_, **fields)
                error = await has_heard(eve, "error", lambda event, id_=id_: event["id"] == id_)
                assert error["code"] == code, (kind, fields)
        for path, body in (
            ("/v1/run", run),
            ("/v1/run/python", run),
            ("/v1/tickets", {}),
            ("/metrics", None),
            ("/v1/workspaces", None),
        ):
            status = await asyncio.to_thread(asked, guarded, path, link(opened, "own"), body)
            assert status == 401, path
        await has_heard(ada, "exit")


async def refused(server, token, path="/v1/run"):
    """Return the status with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as refusal:
        async with by(server, token):
            pass
    return refusal.value.response.status_code


async def test_a_link_that_opens_nothing_is_no_token(guarded):
    async with by(guarded, TOKEN) as ada:
        opened, _ = await opened_by(ada, id="r")
        for token in (
            f"room.{opened['room']}.{'x' * 22}",
            f"room.{'0' * 16}.{opened['own']}",
            f"room.{opened['room']}",
            "room..",
            opened["own"],
        ):
            assert await refused(guarded, token) == 401
        for token in (f"room.{opened['room']}.\xff", f"room.\xff.{opened['own']}"):
            assert await asyncio.to_thread(asked, guarded, "/v1/languages", token) == 401
        async with by(guarded, link(opened, "watch")) as bob:
            await enter(bob, opened, "watch", "Bob", id="r")
            await ada.say("close", id="r")
            await has_heard(bob, "left")
    assert await refused(guarded, link(opened, "watch")) == 401


async def test_a_guest_counts_for_the_tenant_of_the_room(start_server, tmp_path):
    tenants = tmp_path / "tenants.toml"
    hashed = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of "foo"
    tenants.write_text(
        f'[[tenant]]\nname = "school"\ntokens = ["sha256:{hashed}"]\nlanguages = ["python"]\n'
    )
    server = start_server(tenants=str(tenants), slots=2)
    async with by(server, "foo") as ada:
        opened, _ = await opened_by(ada, id="r")
        async with by(server, link(opened, "work")) as bob:
            await enter(bob, opened, "work", "Bob", id="r")
            await bob.say("run", id="x", room=opened["room"], language="bash", code="echo 1")
            error = await has_heard(bob, "error")
            assert error["code"] == "not_allowed"
            assert "bash" in error["message"]
            await bob.say("run", id="y", room=opened["room"], language="python", code="print(1)")
            assert (await has_heard(bob, "exit"))["code"] == 0
