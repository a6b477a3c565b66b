"""Several servers, one Redis: shared slots, one queue, and what happens when Redis goes away."""

from tests.serving import SHORT_LEASE_S, until
from tests.talk import PATIENCE_S


async def test_one_queue_over_all_replicas(replicas):
    first, second, third = replicas(3)
    async with first.talk() as a, second.talk() as b, third.talk() as c:
        await a.say("run", id="a", language="python", code="input()")
        await a.hear_started(id="a")
        await b.say("run", id="b", language="python", code="input()")
        assert (await b.hear_kind("queued", "b"))["position"] == 1
        await c.say("run", id="c", language="python", code="print(3)")
        assert (await c.hear_kind("queued", "c"))["position"] == 2
        await a.say("eof", id="a")
        await b.hear_started(id="b")
        while (await c.hear())["position"] != 1:
            pass
        await b.say("eof", id="b")
        assert (await c.finish("c")).stdout == "3\n"


async def test_a_killed_replica_gives_its_slot_back(replicas):
    first, second = replicas(2, lease_s=SHORT_LEASE_S)
    async with second.talk() as b, first.talk() as a:
        await a.say("run", id="a", language="python", code="input()")
        await a.hear_started(id="a")
        await b.say("run", id="b", language="python", code="print(2)")
        await b.hear_kind("queued", "b")
        first.kill()
        outcome = await b.finish("b")
        assert outcome.stdout == "2\n"
    # What the dead one left running is removed by its successor.
    first.start()
    until(lambda: not first.containers(), "the dead replica's containers are gone")


async def test_without_redis_nothing_starts_and_what_runs_is_ended_with_its_lease(replicas, redis):
    (server,) = replicas(1, lease_s=SHORT_LEASE_S)
    async with server.talk() as talk:
        await talk.say("run", id="a", language="python", code="import time; time.sleep(50)")
        await talk.hear_started(id="a")
        redis.stop()
        refused = await until_refused(talk)
        assert refused["code"] == "gate_unavailable"
        assert refused["retry_after_s"] > 0
        assert server.status("/readyz") == 503
        assert server.status("/healthz") == 200
        outcome = await talk.finish("a")
        assert outcome.reason == "lease_lost"


async def until_refused(talk):
    """Start runs until one is refused: the replica notices Redis's end a moment after it."""
    while True:
        await talk.say("run", id="try", language="python", code="")
        await talk.say("cancel", id="try")
        outcome = await talk.finish("try")
        if outcome.error:
            return outcome.error


async def test_an_empty_redis_that_comes_back_heals_by_itself(replicas, redis):
    first, second = replicas(2)
    async with first.talk() as a, second.talk() as b:
        await a.say("run", id="a", language="python", code="input()")
        await a.hear_started(id="a")
        await b.say("run", id="b", language="python", code="print(2)")
        await b.hear_kind("queued", "b")
        redis.stop()
        redis.start()
        until(lambda: first.status("/readyz") == 200, "the first replica is ready again")
        until(lambda: second.status("/readyz") == 200, "the second replica is ready again")
        await a.say("eof", id="a")
        assert (await a.finish("a")).reason == "exited"
        assert (await b.finish("b")).stdout == "2\n"


async def test_a_stopped_replica_frees_its_slot_at_once(replicas):
    # By the end of its lease it would be free long after this test has lost its patience.
    first, second = replicas(2, drain_s=0, lease_s=5 * PATIENCE_S)
    async with first.talk() as a, second.talk() as b:
        await a.say("run", id="a", language="python", code="input()")
        await a.hear_started(id="a")
        await b.say("run", id="b", language="python", code="print(2)")
        await b.hear_kind("queued", "b")
        first.stop()
        assert (await a.finish("a")).reason == "draining"
        assert (await b.finish("b")).stdout == "2\n"
