"""Engines for the contract suite."""

import pytest

from tests.engines.processes import ProcessEngine
from wsrunner.engines.base import Box
from wsrunner.engines.docker.engine import DockerEngine
from wsrunner.settings import UIDS
from wsrunner.units import MIB


@pytest.fixture(params=["processes", pytest.param("docker", marks=pytest.mark.docker)])
async def engine(request):
    """Every engine that must keep the contract."""
    if request.param == "docker":
        request.getfixturevalue("need")("bash")
    docker = DockerEngine(instance="contract", uids=UIDS)
    made = ProcessEngine() if request.param == "processes" else docker
    async with made as engine:
        yield engine


@pytest.fixture
def start(engine, request):
    """A function that starts a container; all are destroyed at the end."""

    async def start(*, tty=False, ahead=None):
        image = "any"
        if isinstance(engine, DockerEngine):
            image = request.getfixturevalue("need")("bash")
        box = Box(
            image=image,
            tty=tty,
            memory_bytes=128 * MIB,
            pids=32,
            cpus=1.0,
            disk_bytes=16 * MIB,
            ahead=ahead,
        )
        return await engine.start(box)

    return start
