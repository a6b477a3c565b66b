"""A share of `python -m bench soak`."""

import shutil

import pytest

from bench import soak
from tests.docker_fixtures import absent

RUNS = 40


@pytest.fixture
def ground(need, redis_binary, monkeypatch):
    """What the soak needs, and a fault each second."""
    for language in ("python", "bash"):
        need(language)
    if not shutil.which("redis-server"):
        absent("redis-server")
    monkeypatch.setattr(soak, "FAULT_EVERY_S", 1.0)


def test_nothing_is_lost_or_left_whatever_breaks(ground, tmp_path):
    found = soak.run(tmp_path, runs=RUNS)
    missed = [each for each in found["figures"] if each.get("reached") is False]
    assert not missed, found
    # Each was told something, or its connection broke.
    assert sum(found["ends"].values()) == RUNS
