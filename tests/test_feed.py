"""The operators' feed over its socket: who may watch, who may command, what it counts."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.rooms.people import hear_kind, opened_by, packed
from tests.talk import PATIENCE_S
from wsrunner.runs.events import Exit
from wsrunner.runs.job import Principal
from wsrunner.serving.monitor import MINUTES_KEPT, Monitor


async def hear(connection, kind):
    async with asyncio.timeout(PATIENCE_S):
        while (event := json.loads(await connection.recv()))["type"] != kind:
            pass
    return event


def follow(server, token=None):
    headers = {"X-Access-Token": token} if token else {}
    url = f"{server.url}/v1/monitor"
    return connect(url, additional_headers=headers, compression=None, open_timeout=PATIENCE_S)


async def test_the_operator_s_token_opens_the_monitor_and_the_clients_does_not(start_server):
    server = start_server(token="client", operator_token="operator")
    for token in (None, "client", "operato"):
        with pytest.raises(InvalidStatus) as refused:
            async with follow(server, token):
                pass
        assert refused.value.response.status_code == 401
    async with follow(server, "operator") as connection:
        await connection.send('{"type":"slots","slots":3}')
        while (await hear(connection, "state"))["slots"] != 3:
            pass
    with pytest.raises(InvalidStatus):
        async with server.talk(additional_headers={"X-Access-Token": "operator"}):
            pass
    async with server.talk(additional_headers={"X-Access-Token": "client"}) as talk:
        assert (await talk.run("python", "print(1)")).stdout == "1\n"


async def test_an_open_server_s_monitor_only_shows(start_server):
    server = start_server(host="0.0.0.0", open=True)
    async with follow(server) as connection:
        slots = (await hear(connection, "state"))["slots"]
        await connection.send('{"type":"slots","slots":77}')
        assert (await hear(connection, "error"))["code"] == "not_allowed"
        await connection.send('{"type":"cancel","run":"x"}')
        assert (await hear(connection, "error"))["code"] == "no_such_run"
        assert (await hear(connection, "state"))["slots"] == slots


async def test_who_is_no_operator_neither_sees_nor_ends_what_is_anothers(start_server):
    server = start_server(token="client")
    async with (
        server.talk(additional_headers={"X-Access-Token": "client"}) as talk,
        follow(server, "client") as connection,
    ):
        await talk.say("run", language="python", code="print(input())")
        run = (await talk.hear_started())["run"]
        assert (await hear(connection, "state"))["live"] == []
        await connection.send(json.dumps({"type": "cancel", "run": run}))
        assert (await hear(connection, "error"))["code"] == "no_such_run"
        await talk.say("stdin", data="still here\n")
        await talk.hear_output("still here")
        assert (await talk.finish()).reason == "exited"
        state = await hear(connection, "state")
        assert (state["live"], sum(minute["runs"] for minute in state["minutes"])) == ([], 1)


async def test_an_operator_sees_kept_runs_and_rooms_and_ends_them(start_server):
    serving = start_server(token="client", operator_token="operator")
    headers = {"X-Access-Token": "client"}
    async with (
        follow(serving, "operator") as connection,
        serving.talk(additional_headers=headers) as ada,
        serving.talk(additional_headers=headers) as late,
    ):
        opened, joined = await opened_by(ada, id="r")
        await ada.say("update", id="r", base64=packed(b"secret"))
        await ada.say("run", id="a", room=opened["room"], language="python", code="input()")
        accepted = await ada.hear_kind("accepted", "a")
        await ada.hear_kind("started", "a")
        run, room = accepted["run"], opened["room"]
        kept = {"bytes": 0}
        while not kept["bytes"]:
            state = await hear(connection, "state")
            (kept,), (shown,) = state["kept"] or [kept], state["rooms"] or [{}]
        assert (kept["run"], kept["language"], kept["clients"]) == (run, "python", 1)
        assert kept["left_s"] is None
        assert shown == {"room": room, "tenant": "", "people": 1, "runs": 1, "bytes": 64 + 6}
        said = json.dumps(state)
        secrets = [opened[key] for key in ("own", "work", "watch")] + [packed(b"secret")]
        secrets += [accepted["drive"], accepted["view"], joined["you"], "Ada"]
        assert not [secret for secret in secrets if secret in said]
        await connection.send(json.dumps({"type": "discard", "run": run}))
        assert (await ada.hear_kind("exit", "a"))["reason"] == "cancelled"
        while (await hear(connection, "state"))["kept"][0]["left_s"] is None:
            pass
        await connection.send(json.dumps({"type": "discard", "run": run}))
        while (await hear(connection, "state"))["kept"]:
            pass
        await late.say("attach", run=run, key=accepted["view"])
        assert (await late.hear_error())["code"] == "no_such_run"
        await connection.send(json.dumps({"type": "close", "room": room}))
        assert (await hear_kind(ada, "left"))["reason"] == "closed"
        await connection.send(json.dumps({"type": "close", "room": room}))
        assert (await hear(connection, "error"))["code"] == "no_such_room"
        assert (await hear(connection, "state"))["rooms"] == []


async def test_who_is_no_operator_sees_neither_kept_runs_nor_rooms_of_others(start_server):
    serving = start_server(token="client")
    async with (
        serving.talk(additional_headers={"X-Access-Token": "client"}) as ada,
        follow(serving, "client") as connection,
    ):
        opened, _ = await opened_by(ada, id="r")
        await ada.say("run", id="a", room=opened["room"], language="python", code="input()")
        run = (await ada.hear_kind("accepted", "a"))["run"]
        await hear(connection, "state")  # perhaps from before
        state = await hear(connection, "state")
        assert (state["kept"], state["rooms"]) == ([], [])
        for kind, fields in (("discard", {"run": run}), ("close", {"room": opened["room"]})):
            await connection.send(json.dumps({"type": kind, **fields}))
            assert (await hear(connection, "error"))["code"].startswith("no_such_")
        await ada.say("stdin", id="a", data="\n")
        assert (await ada.hear_kind("exit", "a"))["reason"] == "exited"


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        '{"type":"walk"}',
        '{"type":"slots","slots":0}',
        '{"type":"cancel","run":"none"}',
        '{"a":' + "[" * 100_000 + "]" * 100_000 + ',"type":"cancel"}',
        b"\xff",
        json.dumps({"type": "cancel", "z" * 900_000: 1}),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_bad_command_is_an_error_and_the_feed_goes_on(server, message):
    async with follow(server) as connection:
        await connection.send(message)
        error = await hear(connection, "error")
        assert error["code"] in {"bad_message", "no_such_run"}
        assert len(json.dumps(error)) < 1000
        await hear(connection, "state")


def ended(queued_s):
    return Exit(
        seq=1, stage="run", reason="exited", code=0, signal=None, queued_s=queued_s, wall_s=0.0,
        cpu_s=None, memory_bytes=None, output_bytes=0, truncated=False,
    )  # fmt: skip


def test_minutes_are_summed_up_and_the_last_hour_is_whole(monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr("wsrunner.serving.monitor.time", SimpleNamespace(time=lambda: now[0]))
    host = SimpleNamespace(observers=[])
    monitor = Monitor(SimpleNamespace(host=host))
    assert host.observers == [monitor]
    for minute in range(70):
        now[0] = 1_000_020.0 + 60 * minute
        for queued_ms in range(minute):
            run = SimpleNamespace(
                run_id="r",
                language="python",
                first_output_s=minute / 1e3,
                principal=Principal("127.0.0.1"),
            )
            monitor.ended(run, ended(queued_ms / 1e3))
    minutes = monitor._minutes(now[0])
    assert [minute.runs for minute in minutes] == list(range(10, 70))
    assert [minute.first_output_ms_p50 for minute in minutes] == list(range(10, 70))
    assert minutes[-1].queued_ms_p95 == 65
    later = monitor._minutes(now[0] + 60 * 30)
    assert [minute.runs for minute in later] == [*range(40, 70), *[0] * 30]
    assert len(later) == MINUTES_KEPT
    assert later[-1].first_output_ms_p50 is None
