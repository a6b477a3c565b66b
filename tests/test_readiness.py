"""How often engine and gate are asked whether they answer, and what is built once."""

import asyncio

import pytest

from wsrunner.errors import EngineUnavailableError
from wsrunner.serving.doors import lists
from wsrunner.serving.readiness import KEPT_S, Readiness


class Asked:
    """An engine and a gate that answer when told, and count."""

    def __init__(self):
        self.pings = self.states = 0
        self.now_s = 1000.0
        self.answers = asyncio.Event()
        self.failure = None
        self.engine = self.gate = self
        self.starting = False

    async def ping(self):
        self.pings += 1
        await self.answers.wait()
        if self.failure:
            raise self.failure

    async def state(self):
        self.states += 1


@pytest.fixture
def asked():
    return Asked()


@pytest.fixture
def readiness(asked):
    return Readiness(asked, lambda: asked.now_s)


async def together(readiness, count):
    """Ask so often at once; every question is asked before this returns."""
    tasks = [asyncio.create_task(readiness.failure()) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_those_who_ask_at_once_share_one_answer(asked, readiness):
    tasks = await together(readiness, 50)
    asked.answers.set()
    assert await asyncio.gather(*tasks) == [None] * 50
    assert (asked.pings, asked.states) == (1, 1)


async def test_an_answer_holds_for_a_second_and_no_longer(asked, readiness):
    asked.answers.set()
    await readiness.failure()
    asked.now_s += KEPT_S - 0.001
    await readiness.failure()
    assert asked.pings == 1
    asked.now_s += 0.002
    asked.failure = EngineUnavailableError("gone")
    assert await readiness.failure() is asked.failure
    assert asked.pings == 2
    # A failure holds no longer than anything else.
    asked.now_s += KEPT_S
    asked.failure = None
    assert await readiness.failure() is None


async def test_one_who_asked_and_left_takes_the_answer_from_nobody(asked, readiness):
    first, second = await together(readiness, 2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    asked.answers.set()
    assert await second is None
    assert asked.pings == 1


async def test_a_mistake_of_ours_is_kept_no_longer_either(asked, readiness):
    asked.answers.set()
    asked.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await readiness.failure()
    asked.now_s += KEPT_S
    asked.failure = None
    assert await readiness.failure() is None


async def test_a_document_for_machines_is_built_once():
    built = []
    send = lists.answering_with(lambda: built.append(1) or {"openapi": "3.1.0"})
    bodies = {(await send(None)).body for _ in range(3)}
    assert len(bodies) == len(built) == 1
