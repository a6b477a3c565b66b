"""The CPU time of a container: of all its processes, from its plan on, wherever it is read."""

import pytest

from tests.engines.test_engine_contract import hear_text, plan
from wsrunner.engines.base import Ahead
from wsrunner.engines.docker import usage

CHAIN = "for n in 1 2 3 4; do sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; done"
"""Processes that come and go."""
ID = "3f" * 32


async def used_after(container, work, line="sh main"):
    files = {"main": f"{work}; echo done; read -r x".encode()}
    container.begin(plan(line, files=files, ahead=True))
    heard = []
    await hear_text(container, "done", heard)
    used_s = await container.cpu_used_s()
    await container.destroy()
    return used_s


@pytest.mark.docker
@pytest.mark.parametrize("where", ["files", "engine"])
async def test_processes_that_have_ended_count(start, engine, where, monkeypatch):
    if where == "engine":
        monkeypatch.setattr(usage, "cpu_ns_here", lambda _: None)
    container = await start()
    if container.__class__.__name__ == "ProcessContainer":
        assert await used_after(container, "true") == 0.0
        return
    few, many = await used_after(container, "true"), await used_after(await start(), CHAIN)
    assert 0 < few < many / 2


@pytest.mark.docker
async def test_what_was_started_ahead_counts_from_its_plan(start, engine):
    line = "sh -c 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; exec sh main'"
    container = await start(ahead=Ahead("main", "run", line, (), 60))
    before_s = (usage.cpu_ns_here(container.id) or 0) / 1e9
    used_s = await used_after(container, "true", line)
    if container.__class__.__name__ != "ProcessContainer":
        assert used_s < before_s / 2


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cpuacct/docker/{}/cpuacct.usage", "1500000000\n"),
        ("cpu,cpuacct/system.slice/docker-{}.scope/cpuacct.usage", "1500000000\n"),
        ("docker/{}/cpu.stat", "usage_usec 1500000\nuser_usec 1000000\n"),
        ("system.slice/docker-{}.scope/cpu.stat", "usage_usec 1500000\nuser_usec 1\n"),
    ],
)
def test_each_driver_and_version_of_control_groups_is_read(tmp_path, file, text):
    path = tmp_path / file.format(ID)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert usage.cpu_ns_here(ID, tmp_path) == 1_500_000_000
    assert usage.cpu_ns_here("00" * 32, tmp_path) is None


def test_a_runtime_that_does_not_count_tells_nothing():
    assert usage.cpu_ns_told({"cpu_stats": {"cpu_usage": {"total_usage": 0}}}) is None
