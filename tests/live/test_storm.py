"""Connections cut at every moment; ``python -m tests.live.storm`` does the same for longer."""

from tests.live.storm import Storm


async def test_nothing_is_lost_or_doubled_on_one_server(start_server):
    server = start_server(slots=6, warm="python=2")
    storm = Storm([server.address], seed=1)
    await storm.go(cuts=120, at_once=6)
    assert storm.seen["exited"] > 10
    assert storm.seen["gaps"] == 0
    # However often it was asked for, each has run once.
    assert server.metrics()["wsrunner_runs_total"] == storm.seen["exited"]


async def test_nor_over_several_while_runs_wait_and_are_built(replicas, need):
    need("c")
    servers = replicas(3, slots=4)
    storm = Storm([each.address for each in servers], seed=2, languages=("python", "c"))
    await storm.go(cuts=120, at_once=6)
    assert storm.seen["exited"] > 10
    assert storm.seen["gaps"] == 0
    assert storm.seen["queued"] > 0
    assert storm.seen["build"] > 0
    ran = sum(each.metrics()["wsrunner_runs_total"] for each in servers)
    assert ran == storm.seen["exited"]
