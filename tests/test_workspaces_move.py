"""Workspaces on any replica: files go with who uses them, whichever server is asked, or dies."""

import asyncio
import contextlib
import json
import random
import signal

import pytest
from redis import Redis

from tests import http_talk
from tests.serving import SHORT_LEASE_S, docker, until
from tests.test_workspaces import run, said

APPEND = "echo {} >>f; cat f | tr '\\n' ' '"
SHORT = ("import wsrunner.runs.workspaces as w", "w.LASTS_MORE_S = 0.5")
"""What is left ends half a second after nobody may ask for it any more."""


@pytest.fixture
def servers(replicas):
    """A function that starts servers with a short lease and two slots."""
    return lambda count, **options: replicas(
        count, **({"lease_s": SHORT_LEASE_S, "slots": 2} | options)
    )


def records(redis):
    """Return the owners of the workspaces that are known; '' is nobody."""
    with Redis.from_url(redis.tcp_url, decode_responses=True) as client:
        return [client.hget(key, "owner") for key in client.keys("*:spaces:*")]


def is_left(redis):
    """Whether there is one workspace, and no server has it."""
    return records(redis) == [""]


def until_left(redis):
    until(lambda: is_left(redis), "the workspace is left")


def listed(server):
    return [each["workspace"] for each in json.loads(server.get("/v1/workspaces"))]


async def bash(talk, code, **fields):
    return await run(talk, code, language="bash", **fields)


async def test_files_go_from_server_to_server_with_who_uses_them(servers):
    one, two, three = servers(3)
    async with one.talk() as a, two.talk() as b, three.talk() as c:
        told = [await bash(talk, APPEND.format(n)) for n, talk in enumerate((a, b, c, a, a, b))]
        assert [said(each) for each in told] == ["new", *["kept"] * 5]
        assert told[-1].stdout == "0 1 2 3 4 5 "
        assert {(each.reason, each.code, each.stderr) for each in told} == {("exited", 0, "")}
        until(
            lambda: [listed(each) for each in (one, two, three)] == [[], ["w"], []],
            "only where it was last",
        )


async def test_a_run_in_what_was_left_is_as_any_other(servers, redis):
    one, two = servers(2)
    async with one.talk() as a, two.talk() as b:
        await bash(a, "sleep 600 & echo kept >f")
        until_left(redis)
        code = "read x; echo $x; while :; do :; done"
        await b.say("run", language="bash", code=code, workspace="w")
        assert (await b.hear_started())["workspace"] == "kept"
        await b.say("stdin", data="typed\n")
        assert (await b.hear())["data"] == "typed\n"
        await b.say("signal", signal="SIGUSR1")
        outcome = await b.finish()
        assert (outcome.reason, outcome.exit["signal"]) == ("signaled", "SIGUSR1")
        limits = {"wall_s": 0.5}
        assert (await bash(b, "sleep 60", limits=limits)).reason == "timeout"
        out = await bash(b, "cat f; ls -1 >list; ps aux | grep -c '[s]leep'", outputs=["list"])
        assert out.stdout == "kept\n0\n"
        assert out.reason == "exited"


async def test_many_runs_by_any_of_three_servers_lose_none_of_their_work(servers):
    chance = random.Random(1)
    places = servers(3)
    async with contextlib.AsyncExitStack() as stack:
        talks = [await stack.enter_async_context(place.talk()) for place in places]
        for number in range(40):
            outcome = await bash(chance.choice(talks), APPEND.format(number))
            assert (outcome.reason, said(outcome)) == ("exited", "kept" if number else "new")
    assert outcome.stdout.split() == [str(number) for number in range(40)]


async def test_a_run_waits_for_the_end_of_another_servers(servers):
    one, two = servers(2)
    async with one.talk() as a, two.talk() as b:
        await a.say("run", language="bash", code="read x; echo $x >f", workspace="w")
        await a.hear_started()
        second = asyncio.create_task(bash(b, "cat f"))
        _, pending = await asyncio.wait([second], timeout=0.5)
        assert pending
        await a.say("stdin", data="first\n")
        assert (await a.finish()).reason == "exited"
        assert ((await second).stdout, said(await second)) == ("first\n", "kept")


async def test_a_run_that_would_wait_for_long_is_told_so(redis, start_with):
    shared = {"redis_url": redis.tcp_url, "slots": 2, "warm_max": 0}
    impatient = "w.PATIENCE_S = 0.1"
    one, two = (start_with(SHORT[0], impatient, **shared) for _ in range(2))
    async with one.talk() as a, two.talk() as b:
        await a.say("run", language="bash", code="read x", workspace="w")
        await a.hear_started()
        refused = await bash(b, "true")
        assert refused.error["code"] == "workspace_elsewhere"
        assert refused.error["message"].endswith("a run goes on in it")
        assert refused.error["retry_after_s"] > 0
        await b.say("forget", workspace="w")
        assert (await b.hear_error())["code"] == "workspace_elsewhere"
        await a.say("eof")
        await a.finish()
        # Nothing of that was in the way of those who come after.
        until_left(redis)
        assert said(await bash(b, "true")) == "kept"


async def test_a_server_that_dies_leaves_what_was_idle(servers, redis):
    one, two = servers(2)
    async with one.talk() as a:
        await bash(a, APPEND.format("kept"))
        until_left(redis)
        one.kill()
    async with two.talk() as b:
        outcome = await bash(b, APPEND.format("on"))
        assert (outcome.stdout, said(outcome)) == ("kept on ", "kept")


async def test_a_server_that_dies_in_a_run_takes_the_workspace_with_it(servers):
    one, two = servers(2, workspace_s=1)
    async with one.talk() as a:
        limits = {"wall_s": 2}
        await a.say("run", language="bash", code="sleep 60", workspace="w", limits=limits)
        await a.hear_started()
        one.kill()
    async with two.talk() as b:
        outcome = await bash(b, "ls")
        assert (outcome.reason, said(outcome), outcome.stdout) == ("exited", "new", "main.sh\n")
    until(lambda: not one.containers(), "its run has ended at its limit, and its container then")


async def test_a_server_that_stands_still_finds_what_another_one_has_done(servers, redis):
    one, two = servers(2)
    async with one.talk() as a, two.talk() as b:
        await bash(a, APPEND.format(1))
        until_left(redis)
        one.signal(signal.SIGSTOP)
        try:
            assert (await bash(b, APPEND.format(2))).stdout == "1 2 "
        finally:
            one.signal(signal.SIGCONT)
        outcome = await bash(a, APPEND.format(3))
        assert (outcome.stdout, said(outcome)) == ("1 2 3 ", "kept")


async def test_what_another_server_has_left_can_be_forgotten(servers, redis):
    one, two = servers(2)
    async with one.talk() as a, two.talk() as b:
        await bash(a, "echo kept >f")
        until_left(redis)
        await b.say("forget", workspace="w")
        assert (await b.hear())["type"] == "forgotten"
        until(lambda: not one.containers(), "it is removed")
        await b.say("forget", workspace="w")
        assert (await b.hear_error())["code"] == "no_such_workspace"
        assert said(await bash(a, "true")) == "new"
        await a.say("forget", workspace="w")
        assert (await a.hear())["type"] == "forgotten"
        assert said(await bash(b, "true")) == "new"
    assert len(records(redis)) == 1


async def test_it_can_be_forgotten_elsewhere_right_after_a_run(servers):
    one, two = servers(2)
    async with one.talk() as a, two.talk() as b:
        await bash(a, "true")
        await b.say("forget", workspace="w")
        assert (await b.hear())["type"] == "forgotten"
        assert said(await bash(a, "true")) == "new"


async def test_over_http_any_server_will_do(servers):
    one, two = servers(2)
    first = http_talk.run(one, language="bash", code="echo hi >f", workspace="h")
    second = http_talk.run(two, language="bash", code="cat f", workspace="h")
    assert (first["workspace"], second["workspace"], second["stdout"]) == ("new", "kept", "hi\n")


async def test_another_container_than_it_has_is_refused_everywhere(servers, redis):
    one, two = servers(2)
    async with one.talk() as a, two.talk() as b:
        await bash(a, "true")
        until_left(redis)
        refused = await bash(b, "true", limits={"memory_mb": 64})
        assert refused.error["code"] == "workspace_unfit"
        assert "64 MiB" in refused.error["message"]
        assert said(await bash(b, "true")) == "kept"


async def test_one_that_waits_for_its_slot_does_not_end_meanwhile(redis, start_with):
    shared = {"redis_url": redis.tcp_url, "slots": 1, "warm_max": 0, "workspace_s": 60}
    short = ("import wsrunner.runs.workspaces as w", "w.LASTS_MORE_S = -58")
    one, two = (start_with(*short, **shared) for _ in range(2))
    async with one.talk() as a, two.talk() as b:
        await a.say("run", id="w", language="bash", code="read x; echo kept >f", workspace="w")
        await a.hear_started(id="w")
        await a.say("run", id="slot", language="bash", code="read x")
        await a.say("eof", id="w")
        await a.finish(id="w")
        waiting = asyncio.create_task(bash(b, "cat f"))
        # Three times as long as one waits that nobody has.
        _, pending = await asyncio.wait([waiting], timeout=6)
        assert pending
        await a.say("eof", id="slot")
        outcome = await waiting
        assert (said(outcome), outcome.stdout) == ("kept", "kept\n")


async def test_what_nobody_comes_for_ends_by_itself(redis, start_with):
    shared = {"redis_url": redis.tcp_url, "warm_max": 0, "workspace_s": 1}
    server = start_with(*SHORT, "w.KNOWN_MORE_S = 3", **shared)
    async with server.talk() as talk:
        await bash(talk, "true")
        until_left(redis)
        server.kill()
    until(lambda: not server.containers(), "nothing is left of it")
    until(lambda: not records(redis), "nor in Redis")


async def test_what_nobody_comes_for_is_ended_by_the_server_that_left_it(servers, redis):
    one, two = servers(2, workspace_s=1)
    async with one.talk() as a, two.talk() as b:
        await bash(a, "true")
        until(lambda: not one.containers(), "it has ended")
        assert (listed(one), records(redis)) == ([], [])
        assert said(await bash(b, "true")) == "new"


async def test_an_orderly_stop_ends_what_was_left(servers, redis):
    one, two = servers(2)
    async with one.talk() as a:
        await bash(a, "true")
        until_left(redis)
    one.stop()
    assert not one.containers()
    assert not records(redis)
    async with two.talk() as b:
        assert said(await bash(b, "true")) == "new"


async def test_a_client_that_goes_at_any_moment_takes_nothing_with_it(servers):
    one, two = servers(2)
    chance = random.Random(2)
    async with one.talk() as talk:
        await bash(talk, "echo kept >f")
    for place in (two, one) * 5:
        async with place.talk() as talk:
            await talk.say("run", language="bash", code="cat f", workspace="w")
            await asyncio.sleep(chance.uniform(0, 0.2))  # whenever that is
    async with one.talk() as talk:
        outcome = await bash(talk, "cat f")
        assert (said(outcome), outcome.stdout) == ("kept", "kept\n")


async def test_without_redis_nothing_is_left_and_afterwards_all_goes_on(redis, start_with):
    shared = {"redis_url": redis.tcp_url, "warm_max": 0}
    one, two = (start_with(SHORT[0], "w.LEAVE_AFTER_S = 2", **shared) for _ in range(2))
    async with one.talk() as a, two.talk() as b:
        await bash(a, APPEND.format(1))
        redis.stop()
        refused = await bash(a, "true")
        assert refused.error["code"] == "gate_unavailable"
        redis.start()
        until(lambda: {each.status("/readyz") for each in (one, two)} == {200}, "the gate is there")
        until_left(redis)
        outcome = await bash(b, APPEND.format(2))
        assert (said(outcome), outcome.stdout) == ("kept", "1 2 ")


async def test_a_container_that_was_killed_while_it_was_left_is_new(servers, redis):
    one, two = servers(2)
    async with one.talk() as a, two.talk() as b:
        await bash(a, "echo kept >f")
        until_left(redis)
        docker("rm", "-f", *one.containers())
        outcome = await bash(b, "ls")
        assert (outcome.reason, said(outcome), outcome.stdout) == ("exited", "new", "main.sh\n")


# What comes between.


def patched(name, *body):
    """Return assignments that put a method of the ledger's around its own, as `own`."""
    lines = "\n".join(f"    {line}" for line in body)
    code = f"own = L.{name}\nstate = []\nasync def around(*given):\n{lines}\nL.{name} = around"
    return (
        "import asyncio, os, signal",
        "from wsrunner.spaces.ledger import RedisLedger as L",
        code,
    )


async def test_one_that_is_left_and_was_made_anew_of_something_else_is_no_old_one(
    redis, start_with
):
    shared = {"redis_url": redis.tcp_url, "warm_max": 0}
    blind = (SHORT[0], "w.LOOK_EVERY_S = 3600")
    one, two = (start_with(*blind, **shared) for _ in range(2))
    async with one.talk() as a, two.talk() as b:
        await bash(a, "true")
        until_left(redis)
        refused = await bash(a, "true", limits={"memory_mb": 64})
        assert refused.error["code"] == "workspace_unfit"
        await b.say("forget", workspace="w")
        assert (await b.hear())["type"] == "forgotten"
        assert said(await bash(a, "true", limits={"memory_mb": 64})) == "new"


async def test_an_engine_that_does_not_answer_costs_no_workspace(redis, start_with):
    shared = {"redis_url": redis.tcp_url, "warm_max": 0}
    fails = (
        "from wsrunner.engines.docker.engine import DockerEngine as E",
        "from wsrunner.errors import EngineUnavailableError",
        "own, state = E.resume_space, []",
        (
            "async def once(*given):\n"
            "    if not state:\n"
            "        state.append(1)\n"
            "        raise EngineUnavailableError('no answer')\n"
            "    return await own(*given)"
        ),
        "E.resume_space = once",
    )
    one, two = (start_with(*fails, **shared) for _ in range(2))
    async with one.talk() as a, two.talk() as b:
        await bash(a, "echo kept >f")
        until_left(redis)
        assert (await bash(b, "cat f")).error["code"] == "engine_unavailable"
        outcome = await bash(b, "cat f")
        assert (said(outcome), outcome.stdout) == ("kept", "kept\n")


async def test_a_reply_that_is_lost_keeps_no_name_from_others(redis, start_with):
    shared = {"redis_url": redis.tcp_url, "warm_max": 0}
    loses = patched(
        "take",
        "state.append(1)",
        "taken = await own(*given)",
        "if len(state) == 2: raise GateUnavailableError('no reply')",
        "return taken",
    )
    one = start_with("from wsrunner.errors import GateUnavailableError", *loses, **shared)
    async with one.talk() as a:
        await bash(a, "true")
        until_left(redis)
        assert (await bash(a, "true")).error["code"] == "gate_unavailable"
        until(lambda: not records(redis), "nobody has it")
    docker("rm", "-f", *one.containers())  # sooner than it ends by itself


async def test_a_server_that_stands_still_as_it_leaves_holds_up_no_output(redis, start_with):
    shared = {"redis_url": redis.tcp_url, "warm_max": 0, "lease_s": SHORT_LEASE_S}
    shared |= {"output_kb": 65536}
    stops = ("left = await own(*given)", "os.kill(os.getpid(), signal.SIGSTOP)", "return left")
    one = start_with(*patched("leave", *stops), **shared)
    two = start_with(**shared)
    async with one.talk() as a, two.talk() as b:
        await bash(a, "true")
        try:
            until_left(redis)
            outcome = await bash(b, "yes | head -c 20000000", limits={"wall_s": 20})
            assert (said(outcome), outcome.reason) == ("kept", "exited")
        finally:
            one.signal(signal.SIGCONT)


async def test_who_waits_for_another_servers_run_forgets_no_workspace(servers):
    one, two = servers(2)
    async with one.talk() as a, two.talk() as b, two.talk() as c:
        await a.say("run", language="bash", code="read x; echo $x >f", workspace="w")
        await a.hear_started()
        await b.say("run", language="bash", code="cat f", workspace="w")
        until(lambda: listed(two) == ["w"], "it waits")
        await c.say("forget", workspace="w")
        assert (await c.hear_error())["code"] == "workspace_elsewhere"
        await a.say("stdin", data="first\n")
        assert (await a.finish()).reason == "exited"
        outcome = await b.finish()
        assert (outcome.stdout, said(outcome)) == ("first\n", "kept")


async def test_one_that_is_just_being_left_can_be_forgotten(redis, start_with):
    shared = {"redis_url": redis.tcp_url, "warm_max": 0}
    slow = patched("leave", "left = await own(*given)", "await asyncio.sleep(1)", "return left")
    one, two = start_with(*slow, **shared), start_with(**shared)
    async with one.talk() as a, two.talk() as b:
        await bash(a, "true")
        until_left(redis)
        await a.say("forget", workspace="w")
        assert (await a.hear())["type"] == "forgotten"
        assert said(await bash(b, "true")) == "new"
        until(lambda: not one.containers(), "it is removed")


async def test_one_that_is_gone_on_with_late_waits_as_long_again(redis, start_with):
    shared = {"redis_url": redis.tcp_url, "slots": 1, "warm_max": 0, "workspace_s": 60}
    short = (SHORT[0], "w.LASTS_MORE_S = -48")
    one, two = (start_with(*short, **shared) for _ in range(2))
    async with one.talk() as a, two.talk() as b:
        await bash(a, "echo kept >f")
        await a.say("run", id="slot", language="bash", code="read x")
        await a.hear_started(id="slot")
        # More than half of what it waits, so that its own server's word would come too late.
        await asyncio.sleep(8.5)
        waiting = asyncio.create_task(bash(b, "cat f"))
        _, pending = await asyncio.wait([waiting], timeout=5)
        assert pending
        await a.say("eof", id="slot")
        outcome = await waiting
        assert (said(outcome), outcome.stdout) == ("kept", "kept\n")


async def test_a_server_that_is_slow_after_a_run_finds_its_workspace(servers):
    (one,) = servers(1, lease_s=60)
    async with one.talk() as talk:
        await talk.say("run", language="bash", code="sleep 1; echo kept >f", workspace="w")
        await talk.hear_started()
        one.signal(signal.SIGSTOP)
        try:
            # Less than a slow client may have it wait for (--slow-client-s).
            await asyncio.sleep(25)
        finally:
            one.signal(signal.SIGCONT)
        assert (await talk.finish()).reason == "exited"
        outcome = await bash(talk, "cat f")
        assert (said(outcome), outcome.stdout) == ("kept", "kept\n")
