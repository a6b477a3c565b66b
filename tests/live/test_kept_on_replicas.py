"""Kept runs over several servers that share one Redis: any of them will do."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect

from tests import test_http_kept as http
from tests.live.test_kept import GO_ON, attach, begin, hear_all, seqs, text
from tests.serving import SHORT_LEASE_S, until
from tests.talk import PATIENCE_S
from wsrunner.client import Client


async def test_a_run_is_read_on_and_driven_from_another_server(replicas, once):
    one, two, three = replicas(3)
    async with one.talk() as first:
        accepted = await begin(first, once=once)
        await first.say("stdin", data="one\ntw", at=0)
        await first.hear_output("got one\n")
    async with two.talk() as second, three.talk() as viewer:
        attached = await attach(second, accepted, after=2, once=once)
        assert (attached["stage"], attached["stdin_bytes"]) == ("run", 6)
        await attach(viewer, accepted, "view")
        await viewer.say("stdin", data="x")
        assert (await viewer.hear_error_of(None))["code"] == "not_allowed"
        await second.say("stdin", data="one\ntwo\n", at=0)
        await second.say("stdin", data="x", at=9)
        error = await second.hear_error_of(None)
        assert (error["code"], error["path"]) == ("bad_message", "$.at")
        await second.say("eof")
        events = await hear_all(second)
        assert events[-1]["code"] == 0
    async with three.talk() as late:
        await attach(late, accepted, "view")
        events = await hear_all(late)
    assert text(events) == "got one\ngot two\nover\n"
    assert seqs(events) == sorted(set(seqs(events)))


async def test_signals_and_cancel_find_the_server_that_has_the_run(replicas):
    one, two = replicas(2)
    code = (
        "import signal\nprint('on', flush=True)\nwhile 1:\n"
        " try: signal.pause()\n except KeyboardInterrupt: print('int', flush=True)"
    )
    async with one.talk() as first, two.talk() as second:
        accepted = await begin(first, code=code)
        await attach(second, accepted)
        await second.hear_output("on\n")
        await second.say("signal", signal="SIGINT")
        await second.hear_output("int\n")
        await second.say("cancel")
        assert (await hear_all(second))[-1]["reason"] == "cancelled"


async def test_a_run_that_is_forgotten_before_its_time_is_found_nowhere(replicas, once):
    one, two = replicas(2)
    async with one.talk() as first, two.talk() as second:
        accepted = await begin(first, code="print('secret')", once=once)
        await hear_all(first)
        async with connect(f"{one.url}/v1/monitor", open_timeout=PATIENCE_S) as operator:
            await operator.send(json.dumps({"type": "discard", "run": accepted["run"]}))

            async def is_found():
                await second.say("attach", run=accepted["run"], key=accepted["view"])
                return (await hear_all(second))[-1]["type"] != "error"

            async with asyncio.timeout(PATIENCE_S):
                while await is_found():
                    pass


async def test_the_same_once_never_runs_twice_on_any_server(replicas, once):
    one, two = replicas(2)
    async with one.talk() as first, two.talk() as second:
        fields = {"language": "python", "code": GO_ON, "keep_s": 60, "once": once}
        await asyncio.gather(first.say("run", **fields), second.say("run", **fields))
        accepted = await first.hear()
        assert accepted["type"] == "accepted"
        assert await second.hear() == accepted
        await second.say("eof")
        assert text(await hear_all(first)) == text(await hear_all(second)) == "over\n"


async def test_a_refused_run_may_be_asked_for_again_on_any_server(replicas, once):
    one, two = replicas(2)
    fields = {"language": "nonsense", "code": "", "keep_s": 60, "once": once}
    for server in (one, two, one):
        async with server.talk() as talk:
            await talk.say("run", **fields)
            assert (await talk.hear_error())["code"] == "unknown_language"


async def test_keys_open_nothing_on_another_server_either(replicas):
    one, two = replicas(2)
    async with one.talk() as first, two.talk() as second:
        accepted = await begin(first)
        await second.say("attach", run=accepted["run"], key="guess")
        assert (await second.hear_error())["code"] == "no_such_run"
        await second.say("attach", run="0" * 16, key=accepted["drive"])
        assert (await second.hear_error())["code"] == "no_such_run"
        await first.say("eof")
        await hear_all(first)


async def test_a_run_goes_on_while_its_driver_is_on_another_server(replicas):
    one, two = replicas(2)
    async with two.talk() as second:
        async with one.talk() as first:
            accepted = await begin(first, keep_s=0)
            await attach(second, accepted)
        await second.say("stdin", data="still\n")
        await second.hear_output("got still\n")
        await second.say("detach")
        events = await hear_all(second)
        assert events[-1]["type"] == "detached"
        await attach(second, accepted, "view")
        assert (await hear_all(second))[-1]["reason"] == "cancelled"


async def test_a_driver_of_another_server_slows_the_program_down_and_loses_nothing(replicas):
    one, two = replicas(2)
    code = "input()\nfor n in range(400_000): print('%09d' % n)"
    async with one.talk() as first:
        accepted = await begin(first, code=code)
        await first.hear_started()
    async with two.talk() as second:
        await attach(second, accepted)
        await second.say("stdin", data="\n")
        events = await hear_all(second)
    assert [event["type"] for event in events].count("gap") == 0
    assert text(events) == "".join(f"{n:09d}\n" for n in range(400_000))


async def test_a_killed_server_s_runs_end_as_replica_lost(replicas):
    one, two = replicas(2, lease_s=SHORT_LEASE_S)
    async with one.talk() as first, two.talk() as second:
        accepted = await begin(first)
        await first.say("stdin", data="one\n")
        await first.hear_output("got one\n")
        await attach(second, accepted, "view")
        await second.hear_output("got one\n")
        one.kill()
        events = await hear_all(second)
        assert (events[-1]["reason"], events[-1]["stage"]) == ("replica_lost", "run")
        # Who comes only now hears all of it, and the same end.
        await attach(second, accepted)
        late = await hear_all(second)
        assert text(late) == "got one\n"
        assert late[-1] == events[-1]
    one.start()


async def test_who_attaches_to_a_dead_server_s_run_hears_its_end_too(replicas):
    one, two = replicas(2, lease_s=SHORT_LEASE_S)
    async with one.talk() as first:
        accepted = await begin(first)
        await first.hear_started()
        one.kill()
    async with two.talk() as second:
        await attach(second, accepted)
        assert (await hear_all(second))[-1]["reason"] == "replica_lost"
    one.start()


@pytest.mark.parametrize("keep_data", [True, False])
async def test_stdin_from_another_server_survives_a_restart_of_redis(replicas, redis, keep_data):
    one, two = replicas(2)
    heard = b""
    async with Client(one.url) as first, Client(two.url) as second:
        run = await first.run("python", code=GO_ON, keep_s=60)
        driving = await second.attach(run.keys.run, run.keys.drive)

        async def drive():
            for number in range(40):
                await driving.stdin(f"{number}\n")
                await asyncio.sleep(0.05)
            await driving.eof()

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(drive())
            group.create_task(asyncio.to_thread(redis.restart, keep_data=keep_data))
            async for output in driving:
                heard += output.data
        assert (await run.exit()).code == 0
    expected = "".join(f"got {number}\n" for number in range(40)) + "over\n"
    assert heard.decode() == expected


@pytest.mark.parametrize("keep_data", [True, False])
async def test_kept_runs_go_on_over_a_restart_of_redis(replicas, redis, keep_data):
    one, two = replicas(2)
    async with one.talk() as first, two.talk() as second:
        accepted = await begin(first)
        await attach(second, accepted, "view")
        await first.say("stdin", data="one\n")
        await second.hear_output("got one\n")
        await asyncio.to_thread(redis.restart, keep_data=keep_data)
        await first.say("stdin", data="two\n")
        await second.hear_output("got two\n")
        await first.say("eof")
        assert text(await hear_all(second)) == "over\n"
        await attach(second, accepted, "view")
        assert text(await hear_all(second)) == "got one\ngot two\nover\n"


async def test_a_run_that_has_ended_is_there_again_once_redis_lost_its_data(replicas, redis):
    one, two = replicas(2, lease_s=SHORT_LEASE_S)
    accepted = http.begin(one, "print('over')")
    http.ended(one, accepted)
    await asyncio.to_thread(redis.restart, keep_data=False)
    told = await asyncio.to_thread(
        until, lambda: http.ask(two, "GET", accepted)[0] == 200, "it is there again"
    )
    assert told
    assert http.state(two, accepted) == http.state(one, accepted)


async def test_a_server_that_stops_leaves_its_journals_to_the_others(replicas):
    one, two = replicas(2, drain_s=0)
    async with one.talk() as first:
        accepted = await begin(first)
        await first.say("stdin", data="one\n")
        await first.hear_output("got one\n")
        await asyncio.to_thread(one.stop)
    async with two.talk() as second:
        await attach(second, accepted, "view")
        events = await hear_all(second)
    assert text(events) == "got one\n"
    assert events[-1]["reason"] == "draining"


def test_a_run_over_http_is_asked_for_and_driven_on_another_server(replicas):
    one, two = replicas(2)
    accepted = http.begin(one, http.ECHO)
    for server, text_ in ((two, b"one\n"), (one, b"two\n"), (two, b"three\n")):
        assert http.ask(server, "POST", accepted, "/stdin", text_)[0] == 204
        shown = f"got {text_.decode()}"
        until(lambda shown=shown: shown in http.state(one, accepted)["stdout"], shown)
    assert http.ask(two, "POST", accepted, "/eof")[0] == 204
    told = http.ended(two, accepted)
    assert told["stdout"] == "got one\ngot two\ngot three\nover\n"
    assert told == http.state(one, accepted)
    accepted = http.begin(two, http.SLEEP)
    assert http.ask(one, "DELETE", accepted)[0] == 204
    assert http.ended(one, accepted)["exit"]["reason"] == "cancelled"


def test_what_a_run_refuses_is_told_over_http_by_another_server_too(replicas):
    one, two = replicas(2)
    accepted = http.begin(one, http.ECHO)

    def refused(*arguments):
        status, _, body = http.ask(two, "POST", accepted, *arguments)
        return status, json.loads(body)["code"]

    assert refused("/stdin?at=99", b"late") == (400, "bad_message")
    assert http.ask(two, "POST", accepted, "/stdin", b"one\n")[0] == 204
    assert http.ask(two, "POST", accepted, "/eof")[0] == 204
    assert refused("/stdin", b"two\n") == (404, "no_such_run")
    assert refused("/eof") == (404, "no_such_run")
    assert http.ended(two, accepted)["stdout"] == "got one\nover\n"
