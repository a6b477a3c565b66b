"""What only the shared gate has: leases, outages, restarts, several replicas, configuration."""

import asyncio
import random
import signal
import subprocess
from urllib.parse import urlsplit

import pytest
import redis.asyncio as redis
from click.testing import CliRunner
from servers import RedisServer, free_port
from visits import Visit, settled

from tests.certificates import make_certificate
from wsrunner.commands.main import main
from wsrunner.errors import GateUnavailableError, SetupError
from wsrunner.gates import open_gate
from wsrunner.gates.base import Shares, Ticket
from wsrunner.gates.memory import MemoryGate
from wsrunner.gates.redis import RedisGate
from wsrunner.gates.scripts import SCRIPTS, script
from wsrunner.settings import Settings

LEASE_S = 20.0
"""Where nothing may be lost, so that a machine that stands still for a moment loses nothing."""
SHORT_LEASE_S = 2.0
"""Where the test waits for its end."""


@pytest.fixture
def replica(own_redis, prefix):
    """A function that makes a replica of the test's own gate."""

    def make(slots=1, url=None, **options):
        options = {"lease_s": LEASE_S, "prefix": prefix, **options}
        return RedisGate(url or own_redis.url, slots, **options)

    return make


async def test_replicas_share_slots_and_one_queue(replica):
    async with replica(2) as one, replica(2) as two, replica(2) as three:
        holders = [await Visit(one).is_admitted(), await Visit(two).is_admitted()]
        waiters = [await Visit(gate).is_queued() for gate in (three, one, two, three)]
        assert [visit.positions for visit in waiters] == [[1], [2], [3], [4]]
        await holders[0].leave()
        await waiters[0].is_admitted()
        await waiters[3].at_position(3)
        await waiters[1].cancel()
        await waiters[3].at_position(2)
        await holders[1].leave()
        await waiters[2].is_admitted()
        await waiters[0].leave()
        await waiters[3].is_admitted()
        assert (await three.state()).replicas == 3
        for visit in (waiters[2], waiters[3]):
            await visit.leave()
        await settled(one, held=0, waiting=0)


async def test_closing_gives_everything_back_at_once(replica):
    async with replica(1) as stays:
        async with replica(1) as closes:
            holder = await Visit(closes).is_admitted()
            queued = [await Visit(closes).is_queued() for _ in range(120)]
            waiter = await Visit(stays).is_queued()
            assert waiter.positions == [121]
        assert holder.permit.lost.is_set()
        async with asyncio.timeout(LEASE_S / 2):  # not by the end of the lease
            await waiter.is_admitted()
        holder.go.set()
        results = await asyncio.gather(*(visit.task for visit in queued), return_exceptions=True)
        assert all(isinstance(result, GateUnavailableError) for result in results)
        await waiter.leave()
        assert (await settled(stays, held=0, waiting=0)).replicas == 1


async def test_redis_away_starts_nothing_new_and_keeps_what_runs_until_its_deadline(
    replica, own_redis
):
    async with replica(1, lease_s=SHORT_LEASE_S) as gate:
        holder = await Visit(gate).is_admitted()
        waiter = await Visit(gate).is_queued()
        own_redis.freeze()
        with pytest.raises(GateUnavailableError) as caught:
            await Visit(gate).is_admitted()
        assert caught.value.retry_after_s > 0
        assert not holder.permit.lost.is_set()
        async with asyncio.timeout(20):
            await holder.permit.lost.wait()
        with pytest.raises(GateUnavailableError):
            await gate.state()
        own_redis.thaw()
        await holder.leave()
        await waiter.is_admitted()
        await waiter.leave()
        await settled(gate, held=0, waiting=0)


async def test_a_short_outage_ends_nothing(replica, own_redis):
    async with replica(1) as gate:
        holder = await Visit(gate).is_admitted()
        for _ in range(3):
            own_redis.command("CLIENT", "KILL", "TYPE", "normal")
            await (await Visit(gate).is_queued()).cancel()
        await holder.leave()
        await settled(gate, held=0, waiting=0)
        assert not holder.permit.lost.is_set()


@pytest.mark.parametrize("keep_data", [False, True])
async def test_after_a_restart_all_runs_are_known_before_anyone_is_granted(
    replica, own_redis, keep_data
):
    async with replica(2) as one, replica(2) as two:
        await one.resize(3)
        holders = [await Visit(gate).is_admitted() for gate in (one, two, two)]
        waiters = [await Visit(gate).is_queued() for gate in (two, one, two, one)]
        await asyncio.sleep(2 * one.beat_s)  # both have seen the new N in a heartbeat
        await asyncio.to_thread(own_redis.restart, keep_data=keep_data)
        late = Visit(one)  # asks while the gate is not open yet
        state = await settled(two, held=3, waiting=5)
        assert state.slots == 3
        assert not any(visit.admitted.is_set() for visit in (*waiters, late))
        fences = [holder.permit.fence for holder in holders]
        for holder in holders:
            assert not holder.permit.lost.is_set()
            await holder.leave()
        for visit in waiters[:3]:
            await visit.is_admitted()
        assert not waiters[3].admitted.is_set()
        for visit in (*waiters, late):
            await visit.is_admitted()
            await visit.leave()
            fences.append(visit.permit.fence)
        assert len(set(fences)) == 8
        assert fences[3:] == sorted(fences[3:])
        assert min(fences[3:]) > max(fences[:3])
        for visit in waiters:
            assert visit.positions == sorted(visit.positions, reverse=True)
        await settled(one, held=0, waiting=0)


async def test_positions_are_exact_again_after_redis_lost_everything(replica, own_redis):
    async with replica(1) as one, replica(1) as two:
        holder = await Visit(one).is_admitted()
        waiters = [await Visit(gate).is_queued() for gate in (one, two) * 60]
        own_redis.command("FLUSHALL")
        await settled(one, held=1, waiting=120)
        for visit in waiters[:117]:
            visit.task.cancel()
        for place, visit in enumerate(waiters[117:]):
            await visit.at_position(place + 1)
        for visit in (holder, *waiters[117:]):
            await visit.is_admitted()
            await visit.leave()
        await settled(one, held=0, waiting=0)


async def test_a_frozen_replica_loses_its_place_but_its_waiters_are_served(replica, own_redis):
    async with (
        replica(1, lease_s=SHORT_LEASE_S) as frozen,
        replica(1, lease_s=SHORT_LEASE_S) as lives,
    ):
        holder = await Visit(lives).is_admitted()
        first = await Visit(frozen).is_queued()
        second = await Visit(lives).is_queued()
        frozen._tasks[1].cancel()  # no heartbeat any more, as in a process that stands still
        await second.at_position(1)
        frozen._tasks[1] = asyncio.create_task(frozen._beat())
        await settled(lives, waiting=2)
        await holder.leave()
        await second.is_admitted()
        await second.leave()
        await first.is_admitted()
        assert first.positions == [1]
        await first.leave()


async def test_what_a_replica_declares_counts_when_it_changes(replica):
    async with replica(2, queue_max=5, engine_slots={"a": 1}) as gate:
        await gate.resize(7)
    async with replica(2, queue_max=5) as gate:
        state = await gate.state()
        assert (state.slots, state.queue_max, state.engines["a"].slots) == (7, 5, 1)
    async with replica(3, queue_max=5) as gate:
        assert (await gate.state()).slots == 3


async def test_thousands_come_some_vanish_and_nothing_stays(replica, own_redis):
    dice = random.Random(3)
    served = vanished = 0

    async def visit(gate, number, vanishes):
        nonlocal served, vanished
        try:
            async with gate.admit(
                Ticket(f"s{number}", f"t{number % 50}", "ab"[number % 2]),
                on_position=lambda *_: None,
            ):
                await asyncio.sleep(0)
                served += 1
        except asyncio.CancelledError:
            assert vanishes
            vanished += 1

    options = {"queue_max": 5000, "engine_slots": {"a": 3}, "shares": Shares(slots=2)}
    async with replica(8, **options) as one, replica(8, **options) as two:
        before = len(own_redis.command("KEYS", "*").split())
        vanishing = set(dice.sample(range(20_000), 2000))
        for start in range(0, 20_000, 1000):
            tasks = {
                number: asyncio.create_task(
                    visit((one, two)[number % 2], number, number in vanishing)
                )
                for number in range(start, start + 1000)
            }
            for number, task in tasks.items():
                if number in vanishing:
                    await asyncio.sleep(0)
                    task.cancel()
            async with asyncio.timeout(60):
                results = await asyncio.gather(*tasks.values(), return_exceptions=True)
            assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert served >= 18_000
        state = await settled(one, held=0, waiting=0)
        assert set(state.engines) == {"a"}
        await asyncio.sleep(2 * one.beat_s)
        assert len(own_redis.command("KEYS", "*").split()) <= before
        assert not one._replica._stays
        assert not one._replica._leaving
        assert "t:" not in own_redis.command("HKEYS", one._key)


async def test_it_follows_a_cluster_to_the_node_that_has_the_keys(redis_binary, tmp_path, prefix):
    nodes = []
    try:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            nodes.append(RedisServer(redis_binary, tmp_path / name, "--cluster-enabled", "yes"))
            nodes[-1].start()
        first, second = nodes
        second.command("CLUSTER", "ADDSLOTS", *map(str, range(8192)))
        second.command("CLUSTER", "ADDSLOTS", *map(str, range(8192, 16384)))
        first.command("CLUSTER", "MEET", "127.0.0.1", str(second.port))
        async with asyncio.timeout(15):
            while "cluster_state:ok" not in first.command("CLUSTER", "INFO"):
                await asyncio.sleep(0.1)
        async with RedisGate(first.tcp_url, 1, prefix=prefix) as gate:
            await (await Visit(gate).is_admitted()).leave()
    finally:
        for node in nodes:
            node.stop()


@pytest.fixture
def sentinel(own_redis, redis_binary, tmp_path):
    """The URL of a master, `own_redis`, as a sentinel knows it."""
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nsentinel monitor main 127.0.0.1 {own_redis.port} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n"
    )
    process = subprocess.Popen(
        [redis_binary, str(config), "--sentinel"], stdout=subprocess.DEVNULL, cwd=tmp_path
    )
    yield f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/main/0"
    process.terminate()
    process.wait()


async def test_it_finds_the_master_through_sentinel(sentinel, prefix):
    async with RedisGate(sentinel, 1, prefix=prefix, lease_s=LEASE_S) as gate:
        await (await Visit(gate).is_admitted()).leave()
        assert (await gate.state()).replicas == 1


async def test_a_failover_ends_no_run_and_keeps_the_queue(
    sentinel, own_redis, redis_binary, tmp_path, prefix
):
    (tmp_path / "second").mkdir()
    follows = ("--replicaof", "127.0.0.1", str(own_redis.port))
    with RedisServer(redis_binary, tmp_path / "second", *follows) as second:
        options = {"prefix": prefix, "lease_s": 30}
        async with (
            RedisGate(sentinel, 1, **options) as one,
            RedisGate(sentinel, 1, **options) as two,
        ):
            runs = await Visit(one).is_admitted()
            waits = [await Visit(gate).is_queued() for gate in (two, one)]
            async with asyncio.timeout(60):
                while "slave0" not in own_redis.command("INFO", "replication"):
                    await asyncio.sleep(0.05)
                # The sentinel asks the master every 10 s who follows it.
                place = urlsplit(sentinel).netloc.rpartition(":")[2]
                async with redis.Redis(port=int(place)) as asked:
                    while not await asked.execute_command("SENTINEL", "REPLICAS", "main"):
                        await asyncio.sleep(0.1)
            own_redis.stop(signal.SIGKILL)
            async with asyncio.timeout(60):
                while "role:master" not in second.command("INFO", "replication"):
                    await asyncio.sleep(0.05)
            assert not runs.permit.lost.is_set()
            await runs.leave()
            for visit in waits:
                await (await visit.is_admitted()).leave()
            assert (await settled(one, held=0, waiting=0, replicas=2)).slots == 1


async def test_it_speaks_tls_and_refuses_a_certificate_it_does_not_know(
    redis_binary, tmp_path, prefix
):
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with RedisServer(redis_binary, tmp_path, *tls, "--tls-auth-clients", "no"):
        url = f"rediss://127.0.0.1:{port}/0"
        async with RedisGate(f"{url}?ssl_ca_certs={certificate}", 1, prefix=prefix) as gate:
            await (await Visit(gate).is_admitted()).leave()
        with pytest.raises(GateUnavailableError, match="certificate"):
            await RedisGate(url, 1, prefix=prefix).__aenter__()


async def test_an_unreachable_redis_is_named_without_its_password(monkeypatch):
    monkeypatch.setattr("wsrunner.gates.redis.OPEN_S", 0.3)
    gate = RedisGate(f"redis://user:secret@127.0.0.1:{free_port()}/0", 1)
    with pytest.raises(GateUnavailableError, match="can't be reached") as caught:
        await gate.__aenter__()
    assert "secret" not in str(caught.value)


def test_an_url_that_makes_no_sense_is_refused():
    with pytest.raises(SetupError, match="ftp"):
        RedisGate("ftp://here", 1)
    with pytest.raises(SetupError, match="master"):
        RedisGate("redis+sentinel://h1:26379", 1)


def test_settings_choose_the_backend(own_redis):
    assert isinstance(open_gate(Settings(engine_slots=2), "r"), MemoryGate)
    assert isinstance(open_gate(Settings(redis_url=own_redis.url), "r"), RedisGate)


def test_every_script_explains_its_keys_and_arguments():
    for name in SCRIPTS:
        head = script(name).split(f"-- {name}.lua")[1].split("\nlocal")[0]
        assert all(word in head for word in ("KEYS[1]", "ARGV", "Returns")), name


async def test_slots_are_shown_and_set_from_the_command_line(replica, own_redis, monkeypatch):
    at = {"prefix": "wsrunner", "engine_slots": {"a": 1}}
    async with (
        replica(2, name="web-1:8001", engine="a", **at) as gate,
        replica(2, name="web-2:8001", engine="b", **at),
    ):
        holder = await Visit(gate, "a").is_admitted()
        url = ["--redis-url", own_redis.url]

        async def run(*words, **options):
            return await asyncio.to_thread(CliRunner().invoke, main, words, **options)

        shown = await run("slots", *url)
        assert shown.exit_code == 0, shown.output
        assert shown.output.splitlines() == [
            "slots    1 of 2 held",
            "queue    0 of 1000 waiting",
            "engine   a: 1 of 1 held",
            "engine   b: 0 held",
            "replicas 2: web-1:8001, web-2:8001",
        ]
        result = await run("slots", *url, "set", "5")
        assert result.exit_code == 0, result.output
        assert (await gate.state()).slots == 5
        result = await run(
            "slots", "set", "0", "--engine", "a", env={"WSRUNNER_REDIS_URL": own_redis.url}
        )
        assert result.exit_code == 0, result.output
        assert (await gate.state()).engines["a"].slots == 0
        result = await run("slots", *url, "set", "0", "--engine", "local")
        assert result.exit_code == 2
        assert "no replica runs on an engine 'local'; there is a, b" in result.output
        assert set((await gate.state()).engines) == {"a", "b"}
        result = await run("slots", *url, "set", "0", "--engine", "b")
        assert (await gate.state()).engines["b"].slots == 0
        assert (await run("slots", "set", "0", *url)).exit_code == 2
        assert (await run("slots")).exit_code == 2
        await holder.leave()
