"""A receiver, and backlogs of both kinds."""

import uuid
from contextlib import asynccontextmanager

import pytest

from tests.webhooks.receiver import receiving
from wsrunner.webhooks.backlog import MemoryBacklog
from wsrunner.webhooks.store import RedisBacklog


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def open_backlog(request):
    """A function that opens the test's backlog, which has one name wherever it is."""
    memory, prefix = MemoryBacklog(), f"test-{uuid.uuid4().hex[:8]}"

    @asynccontextmanager
    async def opened():
        if request.param == "memory":
            yield memory
            return
        backlog = RedisBacklog(request.getfixturevalue("redis").url, prefix)
        try:
            yield backlog
        finally:
            await backlog.close()

    return opened
