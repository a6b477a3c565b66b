"""What must not end before it is done."""

import asyncio

import pytest

from wsrunner.runs.tasks import to_the_end


async def test_what_is_cancelled_more_than_once_is_still_done_whole():
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work():
        begun.set()
        await go_on.wait()
        done.set()

    who = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    for _ in range(2):
        who.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await who
    assert done.is_set()
