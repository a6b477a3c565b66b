"""A container is removed whatever the engine says of it meanwhile."""

import aiodocker
import pytest

from wsrunner.engines.docker import engine as docker_engine
from wsrunner.engines.docker.engine import DockerEngine
from wsrunner.errors import EngineUnavailableError
from wsrunner.settings import UIDS

ENDED = "Could not kill running container, cannot remove - Container is not running"


class Engine:
    """Answers requests to remove its one container with these statuses, then that it is gone."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.containers = self

    def container(self, _id):
        return self

    async def delete(self, **_options):
        status = self.statuses.pop(0) if self.statuses else 404
        if status != 204:
            raise aiodocker.DockerError(status, {"message": ENDED})


def removing(*statuses):
    engine = DockerEngine(instance="test", uids=UIDS)
    engine._docker = Engine(*statuses)
    return engine


async def test_it_is_asked_again_until_the_container_is_gone():
    for statuses in ([204], [404], [409, 409, 404], [500, 409, 204]):
        engine = removing(*statuses)
        await engine.remove("id")
        assert engine._docker.statuses == []


async def test_an_engine_that_can_not_is_given_up_in_the_end(monkeypatch):
    monkeypatch.setattr(docker_engine, "REMOVAL_S", 0.1)
    with pytest.raises(EngineUnavailableError, match="is not running"):
        await removing(*[500] * 100).remove("id")
