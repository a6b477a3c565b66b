"""Messages that wait, in memory and in Redis."""

import asyncio

import pytest

from tests.talk import PATIENCE_S
from wsrunner.errors import GateUnavailableError, KeptFullError
from wsrunner.webhooks.dispatch import Dispatch
from wsrunner.webhooks.message import Message
from wsrunner.webhooks.store import RedisBacklog


async def due(backlog, count=1, lease_s=600):
    """Wait until so many are due; return them."""
    taken = []
    async with asyncio.timeout(PATIENCE_S):
        while len(taken) < count:
            taken += await backlog.take(count - len(taken), lease_s)
            await asyncio.sleep(0.01)
    return taken


async def test_what_is_due_is_taken_once(open_backlog):
    async with open_backlog() as backlog, open_backlog() as other:
        message = Message(id="r1", url="https://ci.example", secret="s", body=b"{}")
        await backlog.put(message, 0)
        assert await due(other) == [message]
        assert await backlog.take(9, 600) == []
        assert await backlog.count() == 1
        await other.drop("r1")
        await other.drop("r1")
        assert await backlog.count() == 0


async def test_what_is_due_later_is_not_taken_before_and_a_later_state_replaces_it(open_backlog):
    async with open_backlog() as backlog:
        await backlog.put(Message(id="r1", url="u"), 600)
        assert await backlog.take(9, 600) == []
        await backlog.put(Message(id="r1", url="u", body=b"end"), 0)
        assert [message.body for message in await due(backlog)] == [b"end"]
        assert await backlog.count() == 1


async def test_what_waits_is_counted_by_owner(open_backlog):
    async with open_backlog() as backlog:
        for number, owner in enumerate(["school", "school", "shop", ""]):
            await backlog.put(Message(id=f"r{number}", url="u", owner=owner), 600)
        await backlog.put(Message(id="r0", url="u", owner="school", body=b"end"), 600)
        counts = [await backlog.count(owner) for owner in ("", "school", "shop", "elsewhere")]
        assert counts == [4, 2, 1, 0]
        await backlog.drop("r0")
        assert (await backlog.count(), await backlog.count("school")) == (3, 1)


async def test_one_tenant_leaves_room_for_the_others(open_backlog):
    async with open_backlog() as backlog:
        dispatch = Dispatch(backlog, ["*"], private=True, pending_max=4)
        for number in range(2):
            await dispatch.check_room("school")
            await backlog.put(Message(id=f"r{number}", url="u", owner="school"), 600)
        with pytest.raises(KeptFullError, match=r"2 callbacks of tenant school .* limit is 2"):
            await dispatch.check_room("school")
        await dispatch.check_room("shop")
        await dispatch.check_room("")


async def test_a_lease_that_is_over_lets_others_take_it(open_backlog):
    async with open_backlog() as backlog:
        await backlog.put(Message(id="r1", url="u"), 0)
        await due(backlog, lease_s=0.05)
        assert [message.id for message in await due(backlog)] == ["r1"]


async def test_the_longest_due_come_first_and_no_more_than_are_wanted(open_backlog):
    async with open_backlog() as backlog:
        for number in range(5):
            await backlog.put(Message(id=f"r{number}", url="u"), -number)
        assert [message.id for message in await due(backlog, 2)] == ["r4", "r3"]


async def test_in_redis_they_survive_who_put_them(redis):
    first = RedisBacklog(redis.url)
    await first.put(Message(id="r1", url="u", body=b"end"), 0)
    await first.close()
    second = RedisBacklog(redis.url)
    assert [message.body for message in await due(second)] == [b"end"]
    await second.close()


async def test_a_redis_that_is_away_is_told(redis):
    backlog = RedisBacklog(redis.url)
    redis.stop()
    for ask in (backlog.put(Message(id="r", url="u"), 0), backlog.take(1, 1), backlog.count()):
        with pytest.raises(GateUnavailableError):
            await ask
    await backlog.close()
    redis.start()
