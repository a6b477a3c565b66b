"""Many runs over three replicas while replicas, Redis and containers die: is anything lost?

Clients run programs of many kinds, hang up, cancel, and go to whichever replica answers. All along
one fault follows another. A run is accounted for if its client was told how it ended, that it was
refused, or if the connection broke; one that is told nothing while its connection lives is lost. In
the end nothing may be left: slots, containers, descriptors, memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from bench import kit
from bench.kit import Figure
from bench.soak_ground import Ground

NAME = "soak"
HELP = "mixed runs over three replicas that are killed, stopped and cut off all along"
APART = True
COUNT = 20_000
CLIENTS = 8
TOLD_S = 90.0
"""How long a run may be told nothing before it counts as lost."""
FAULT_EVERY_S = 4.0
KINDS: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any], str], bool]]] = {
    "prints": (
        {"language": "python", "code": "print(6 * 7)"},
        lambda end, out: end["code"] == 0 and out == "42\n",
    ),
    "fails": ({"language": "bash", "code": "exit 3"}, lambda end, _: end["code"] == 3),
    "reads": (
        {"language": "bash", "code": "cat", "stdin": "x" * 5000},
        lambda end, out: end["code"] == 0 and out == "x" * 5000,
    ),
    "floods": (
        {"language": "bash", "code": "yes | head -c 300000"},
        lambda end, out: end["code"] == 0 and len(out) == 300_000,
    ),
    "hangs": (
        {"language": "bash", "code": "sleep 600", "limits": {"wall_s": 0.3}},
        lambda end, _: end["reason"] == "timeout",
    ),
    "prints too much": (
        {"language": "bash", "code": "yes", "limits": {"output_kb": 64}},
        lambda end, _: end["reason"] == "output_limit" and end["truncated"],
    ),
    "dies": (
        {"language": "bash", "code": "kill -SEGV $$"},
        lambda end, _: end["reason"] == "signaled",
    ),
}
"""What a run is, and what must become of it unless a fault meets it."""
FAULTS_REASONS = frozenset({"engine_lost", "lease_lost", "replica_lost", "draining", "cancelled"})
FAULTS_CODES = frozenset({"engine_unavailable", "gate_unavailable", "queue_full", "draining"})


class Tally:
    """What became of the runs."""

    def __init__(self, count: int, seed: str) -> None:
        self.left = count
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.chance = random.Random(seed)

    def judge(self, kind: str, event: dict[str, Any], output: str, way: str) -> None:
        """Note how a run has ended, and whether that can be."""
        if event["type"] == "error":
            self.ends[event["code"]] += 1
            is_right = event["code"] in FAULTS_CODES
        else:
            self.ends[event["reason"]] += 1
            met = event["reason"] in FAULTS_REASONS or event["signal"] == "SIGKILL"
            is_right = met or way == "cancels" or KINDS[kind][1](event, output)
        if not is_right:
            self.wrong.append(f"{kind}: {event}")

    def take(self) -> bool:
        """Take one more run to start; False if there are none."""
        self.left -= 1
        return self.left >= 0


async def _client(ground: Ground, tally: Tally) -> None:
    """Start one run after the other, on one connection as long as that lives."""
    while tally.left > 0:
        try:
            async with _socket(ground, tally) as connection:
                while tally.take():
                    if not await _one(connection, tally):
                        break
        except (OSError, InvalidHandshake, TimeoutError):
            # A replica that is just not there; nothing was asked of it.
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _socket(ground: Ground, tally: Tally) -> AsyncIterator[ClientConnection]:
    port = tally.chance.choice(ground.replicas).port
    connection = await connect(
        f"ws://127.0.0.1:{port}/v1/run", compression=None, max_size=None, open_timeout=10
    )
    try:
        yield connection
    finally:
        connection.transport.abort()


async def _one(connection: ClientConnection, tally: Tally) -> bool:
    """Carry one run through; return whether the connection is good for another."""
    kind = tally.chance.choice(list(KINDS))
    request, _ = KINDS[kind]
    way = tally.chance.choices(("waits", "cancels", "hangs up"), (90, 6, 4))[0]
    output: list[str] = []
    try:
        async with asyncio.timeout(TOLD_S) as patience:
            await connection.send(json.dumps({"type": "run", **request}))
            if way == "hangs up":
                tally.ends["hung up"] += 1
                return False
            if way == "cancels":
                await connection.send('{"type":"cancel"}')
            async for message in connection:
                patience.reschedule(asyncio.get_running_loop().time() + TOLD_S)
                event = json.loads(message)
                if event["type"] == "stdout":
                    output.append(event.get("data", ""))
                elif event["type"] == "exit" or event.get("code", "no_such_run") != "no_such_run":
                    tally.judge(kind, event, "".join(output), way)
                    return True
    except TimeoutError:
        tally.ends["LOST"] += 1
        return False
    except WebSocketException:
        pass
    tally.ends["connection broken"] += 1
    return False


async def _faults(ground: Ground, tally: Tally, counts: Counter[str]) -> None:
    """Let one thing after the other go wrong, for ever."""
    while True:
        await asyncio.sleep(FAULT_EVERY_S)
        fault = tally.chance.choice(ground.faults)
        counts[fault.__name__] += 1
        await asyncio.to_thread(fault)


async def _soak(ground: Ground, tally: Tally, counts: Counter[str]) -> None:
    total = tally.left
    faults = asyncio.create_task(_faults(ground, tally, counts))
    clients = [asyncio.create_task(_client(ground, tally)) for _ in range(CLIENTS)]
    marked = False
    while not all(client.done() for client in clients):
        kit.progress(f"soak: {total - max(0, tally.left)} of {total} runs; {dict(tally.ends)}")
        if not marked and tally.left < total / 2:
            marked = True
            ground.mark_memory()
        await asyncio.wait(clients, timeout=1.0)
    faults.cancel()
    # A fault that is half done, in its thread, is done first.
    await asyncio.gather(faults, return_exceptions=True)
    await asyncio.gather(*clients)


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Soak; see the module. `runs` is how many there are."""
    del out
    count = runs or (COUNT // 50 if quick else COUNT)
    seed = str(random.SystemRandom().randrange(10**9))
    tally, faults = Tally(count, seed), Counter[str]()
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wsr-") as folder, Ground(Path(folder)) as ground:
        asyncio.run(_soak(ground, tally, faults))
        left = ground.settle()
    kit.progress("")
    took_s = time.monotonic() - begun_s
    for wrong in tally.wrong[:10]:
        print(f"told wrong: {wrong}")
    zero = {"lost outcomes": tally.ends["LOST"], "outcomes told wrong": len(tally.wrong), **left}
    met = ", ".join(f"{name.replace('_', ' ')}: {times}" for name, times in faults.items())
    figures = [
        Figure("all", "runs", float(count), note=f"{count / took_s:.1f} a second"),
        Figure("met meanwhile", "faults", float(sum(faults.values())), note=met),
        *(Figure(what, "found", float(value), most=0.0) for what, value in zero.items()),
        Figure("memory of a replica, growth in the second half", "MB", ground.grown_mb, most=16.0),
    ]
    return kit.result(figures, seed=seed, ends=dict(tally.ends), wrong=tally.wrong[:100])
