"""Three replicas and more, a real Redis, real faults; the checker reads what happened."""

import asyncio
import json
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from checker import Gate, Window, check
from proxy import Proxy

from wsrunner.gates.redis import RedisGate

HERE = Path(__file__).parent
LEASE_S = 2.0
GATE = Gate(slots=3, caps={"a": 2}, lease_s=LEASE_S, beat_s=LEASE_S / 8)


class Cast:
    """The replicas on stage, and what was done to them."""

    def __init__(self, redis, directory, prefix, **options):
        self.redis = redis
        self.log = directory / "history.jsonl"
        self.prefix = prefix
        self.options = options
        self.windows = []
        self.workers = {}

    async def start(self, name, url=None, **options):
        parameters = {
            "url": url or self.redis.url,
            "prefix": self.prefix,
            "name": name,
            "log": str(self.log),
            "slots": GATE.slots,
            "caps": GATE.caps,
            "lease_s": LEASE_S,
            "visitors": 6,
            "seed": self.prefix,
            **self.options,
            **options,
        }
        self.workers[name] = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "worker.py"),
            json.dumps(parameters),
            stdin=asyncio.subprocess.PIPE,
        )

    def events(self):
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    async def after(self, event, count=1, replica=None, since=0.0):
        """Wait until so many of these events were written."""
        async with asyncio.timeout(30):
            while True:
                found = [
                    e
                    for e in self.events()
                    if e[2] == event and e[0] > since and replica in {None, e[1]}
                ]
                if len(found) >= count:
                    return
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def window(self, kind, replica=None):
        window = Window(kind, time.monotonic(), float("inf"), replica)
        self.windows.append(window)
        try:
            yield
        finally:
            window.end = time.monotonic()

    async def kill(self, name):
        worker = self.workers.pop(name)
        now = time.monotonic()
        worker.kill()
        await worker.wait()
        self.windows.append(Window("gone", now, time.monotonic(), name))

    async def finish(self):
        for worker in self.workers.values():
            worker.stdin.close()
        for worker in self.workers.values():
            async with asyncio.timeout(20):
                assert await worker.wait() == 0
        self.workers = {}

    async def abandon(self):
        for worker in self.workers.values():
            with suppress(ProcessLookupError):
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            await worker.wait()


@pytest.fixture
async def cast(own_redis, tmp_path, prefix):
    cast = Cast(own_redis, tmp_path, prefix)
    yield cast
    await cast.abandon()


async def opened(cast, **options):
    for name in ("r1", "r2", "r3"):
        await cast.start(name, **options)
    await cast.after("opens", 3)
    await cast.after("runs", 30)


async def sound(cast, replicas=("r1", "r2", "r3")):
    """All go on after the last fault, the history is sound, and nothing is left behind."""
    since = time.monotonic()
    for name in replicas:
        await cast.after("runs", 5, name, since)
    await cast.finish()
    assert check(cast.events(), GATE, cast.windows) == []
    async with RedisGate(
        cast.redis.url, None, lease_s=LEASE_S, prefix=cast.prefix, name="watches"
    ) as gate:
        async with asyncio.timeout(LEASE_S + 3):
            while (state := await gate.state()).held or state.waiting:
                await asyncio.sleep(0.1)
    keys = cast.redis.command("KEYS", f"{{{cast.prefix}}}*").split()
    assert {key for key in keys if key.startswith("{")} <= {
        f"{{{cast.prefix}}}:gate" + tail for tail in ("", ":feed", ":awaited")
    }


async def test_without_faults(cast):
    await opened(cast)
    await sound(cast)


async def test_wake_ups_are_lost(cast):
    await opened(cast, deaf=0.5)
    await sound(cast)


async def test_a_replica_is_killed_and_its_slots_come_back(cast):
    await opened(cast, hold_s=0.2)
    await cast.kill("r2")
    await asyncio.sleep(LEASE_S + 1.5)
    await cast.start("r4")
    await sound(cast, ("r1", "r3", "r4"))


async def test_a_replica_stands_still_for_longer_than_its_lease(cast):
    await opened(cast)
    async with cast.window("still", "r2"):
        cast.workers["r2"].send_signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE_S * 1.7)
        cast.workers["r2"].send_signal(signal.SIGCONT)
        await asyncio.sleep(0.5)
    async with cast.window("still", "r1"):
        cast.workers["r1"].stdin.write(b"block 3.2\n")
        await asyncio.sleep(3.7)
    await sound(cast)


async def test_connections_are_killed_and_scripts_flushed(cast):
    await opened(cast)
    for _ in range(4):
        cast.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(0.3)
        cast.redis.command("CLIENT", "KILL", "TYPE", "normal")
        await asyncio.sleep(0.3)
        cast.redis.command("SCRIPT", "FLUSH")
        await asyncio.sleep(0.3)
    await sound(cast)


async def test_redis_loses_everything(cast):
    await opened(cast, hold_s=0.3)
    for _ in range(2):
        async with cast.window("down"):
            cast.redis.command("FLUSHALL")
            await asyncio.sleep(1.5)
    await sound(cast)


@pytest.mark.parametrize("keep_data", [False, True])
async def test_redis_restarts(cast, keep_data):
    await opened(cast, hold_s=0.3)
    for _ in range(2):
        async with cast.window("down"):
            await asyncio.to_thread(cast.redis.restart, keep_data=keep_data)
            await asyncio.sleep(1.5)
    await sound(cast)


async def test_redis_is_away_for_longer_than_the_lease(cast):
    await opened(cast, hold_s=0.3)
    async with cast.window("down"):
        cast.redis.freeze()
        await asyncio.sleep(LEASE_S * 1.3)
        cast.redis.thaw()
        await asyncio.sleep(1)
    await sound(cast)


async def test_the_network_drops_delays_and_cuts(cast):
    async with Proxy(cast.redis.port) as proxy:
        await cast.start("r1", url=proxy.url)
        await cast.start("r2")
        await cast.start("r3")
        await cast.after("opens", 3)
        await cast.after("runs", 5, "r1")
        for fault in ("cut", "delay", "drop", "cut"):
            async with cast.window("cut", "r1"):
                proxy.fault(fault)
                await asyncio.sleep(0.7)
                proxy.fault(None)
        async with cast.window("cut", "r1"):
            proxy.fault("stall")
            await asyncio.sleep(LEASE_S * 1.5)
            proxy.fault(None)
        await sound(cast)


# The checker must notice what is wrong, or all of the above says nothing.


@pytest.mark.parametrize(
    ("bug", "rule", "options"),
    [
        ("a grant is out of order", "rule 2", {}),
        ("a full engine is not passed over", "rule 1", {}),
        ("one grant too many", "rule 1", {}),
        ("a late release frees a slot", "rule 1", {"leaves_twice": True}),
        ("a counter drifts", "rule 4", {"hold_s": 0.01}),
        ("a grant is not kept for the next beat", "rule 4", {"deaf": 0.5}),
        ("a renewal takes an ended lease up again", "rule 1", {"hold_s": 4, "no_deadline": True}),
        ("nobody waits for claims", "rule 1", {"hold_s": 1.0}),
    ],
)
async def test_a_planted_bug_is_noticed(cast, bug, rule, options):
    cast.options = {"bug": bug, **options}
    for name in ("r1", "r2"):
        await cast.start(name)
    if "renewal" in bug:
        await cast.after("runs", 3)  # those two hold all slots
    await cast.start("r3")
    await cast.after("opens", 3)
    await cast.after("asks", 9)
    for _ in range(5):  # whose run the fault hits is chance
        if "renewal" in bug:
            await two_stand_still(cast)
        if "claims" in bug:
            async with cast.window("down"):
                cast.redis.command("FLUSHALL")
        with suppress(TimeoutError):
            async with asyncio.timeout(4):
                while not noticed(cast, rule):
                    await asyncio.sleep(0.2)
                return
    raise AssertionError("not noticed")


async def two_stand_still(cast):
    async with cast.window("still", "r1"), cast.window("still", "r2"):
        for name in ("r1", "r2"):
            cast.workers[name].send_signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE_S * 1.3)
        for name in ("r1", "r2"):
            cast.workers[name].send_signal(signal.SIGCONT)


def noticed(cast, rule):
    breaches = check(cast.events(), GATE, cast.windows, time.monotonic())
    return any(breach.startswith(rule) for breach in breaches)
