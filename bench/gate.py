"""The Redis gate in multiples of a PING, and beside three ways that are often used instead.

Everything is measured over TCP on this machine, in one process, against a redis-server of its own.
Each sample has a PING of redis-py's client next to it, so that a busy machine slows both. (A PING
over the gate's own connection, which skips redis-py's pool, is reported too.) Times are in
microseconds.
"""

# ruff: noqa: SLF001  it measures the steps, not only the whole

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import redis.asyncio as redis
import uvloop

from bench import kit
from wsrunner.gates.base import Ticket
from wsrunner.gates.redis import RedisGate
from wsrunner.gates.scripts import sha

NAME = "gate"
HELP = "the Redis gate in multiples of a PING: admission, hand-off, positions, memory"

ROUNDS = 1000
QUICK_ROUNDS = 200
MANY = 100_000
QUICK_MANY = 10_000
HELD = 20_000
USERS = 50
"""Clients that have the queue behind, besides those who are handed slots."""
NOTHING = "return 1"
"""A script that does nothing: what it takes at worst is the machine's doing."""
SINGLE = "one command"
"""Within a script; none walks anything, so what one takes at worst is the machine's too."""
LOGGED_US = 10
"""What is faster is not logged: with all of the commands that scripts run, the log itself took as
long as the scripts."""
ROUNDS_OF_RATES = 7
QUICK_ROUNDS_OF_RATES = 2

numbers = itertools.count()


@contextmanager
def redis_server():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [
                *("redis-server", "--port", str(port), "--dir", directory),
                *("--save", "", "--appendonly", "no", "--slowlog-max-len", "200000"),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.02)
            yield port
        finally:
            server.terminate()
            server.wait()


class Samples(list):
    def quantile(self, share):
        return sorted(self)[min(int(share * len(self)), len(self) - 1)]

    @contextmanager
    def one(self):
        start = time.perf_counter()
        yield
        self.append((time.perf_counter() - start) * 1e6)

    def summary(self):
        return {"p50": round(statistics.median(self), 1), "p99": round(self.quantile(0.99), 1)}


def opened(port, prefix, slots=1):
    gate = RedisGate(
        f"redis://127.0.0.1:{port}/0", slots, 2 * MANY, prefix=prefix, lease_s=60, name=prefix
    )
    gate._replica.settle_us = 0
    return gate


def silent(*_):
    pass


async def ping(client, samples):
    """One PING, after a pause as everything else that is measured has one."""
    await asyncio.sleep(0.0005)
    with samples.one():
        await client.ping()


async def beat(gate):
    """A heartbeat of the gate's own, from the request to positions told."""
    while gate._beat_sent_s is not None:
        await asyncio.sleep(0)
    gate._send_beat(asyncio.get_running_loop().time())
    while gate._beat_sent_s is not None:
        await asyncio.sleep(0)


async def nothing(client, times):
    """Run a script that does nothing as often as others run beside it."""
    for _ in range(times):
        await client.eval(NOTHING, 0)


async def slow_log(client, scripts):
    """Add what every script took on the server since the last call."""
    names = {sha(name).encode(): name for name in ("enter", "leave", "beat", "part")}
    for entry in await client.slowlog_get(20_000):
        words = entry["command"].split()
        name = names.get(words[1]) if words[0] == b"EVALSHA" else None
        if words[0] == b"EVAL":
            name = NOTHING if words[1] == b"return" else "tune"
        elif words[0] not in {b"EVALSHA", b"SLOWLOG", b"CONFIG", b"INFO"}:
            name = SINGLE
        if name:
            scripts.setdefault(name, Samples()).append(entry["duration"])
    await client.slowlog_reset()


async def admission(port, rounds, user=""):
    """Acquire and release, both awaited; and as `admit` does it: it doesn't await the release."""
    pings, wire_pings, pairs, admits = Samples(), Samples(), Samples(), Samples()
    client = redis.Redis(host="127.0.0.1", port=port)
    async with client, opened(port, "pairs", 8) as gate:
        identity = gate._replica.identity
        for _ in range(rounds):
            await ping(client, pings)
            await asyncio.sleep(0.0005)
            with wire_pings.one():
                await gate._commands.ask("PING")
            await asyncio.sleep(0.0005)
            ticket = f"bench-ticket-{next(numbers):012}"
            with pairs.one():
                reply = await gate._call("enter", *identity, ticket, "local", "", user, 0, 0)
                await gate._call("leave", *identity, ticket, reply[1], "local", "", user)
            await asyncio.sleep(0.0005)
            with admits.one():
                async with gate.admit(Ticket(f"t{next(numbers)}", user=user), on_position=silent):
                    pass
    return pings, wire_pings, pairs, admits


async def fill(gate, count, users):
    """Let one more replica, which sends no heartbeat, wait `count` times behind all others."""
    client = redis.Redis(connection_pool=gate._server._pool)
    run_id = (await client.info("server"))["run_id"]
    replica, link = f"filler{next(numbers)}", "link"
    head = (sha("join"), 1, gate._key, replica, link, run_id, "filler")
    await client.evalsha(*head, 3600 * 10**6, 10**6, 0, 0, 0, 0)
    before = (await client.info("memory"))["used_memory"]
    for start in range(0, count, 1000):
        pipe = client.pipeline(transaction=False)
        for number in range(start, min(start + 1000, count)):
            ticket = f"bench-ticket-{number:012}"
            user = f"user-{number % users}" if users else ""
            pipe.evalsha(sha("enter"), 1, gate._key, replica, link, ticket, "local", "", user, 0, 0)
        await pipe.execute()
    used = (await client.info("memory"))["used_memory"] - before
    await client.aclose()
    return replica, link, used


async def rarities(client, gate, filler, behind, scripts):
    """Cancelled waiters, new waiters, more slots, a replica that goes with all it has."""
    key, identity = gate._key, (gate._key, *gate._replica.identity)
    for number in range(500):
        ticket = f"bench-ticket-{behind - 1 - number:012}"
        await client.evalsha(sha("leave"), 1, key, *filler, ticket, 0, "local", "", "")
        await client.evalsha(sha("enter"), 1, *identity, f"late{number}", "local", "", "", 0, 0)
        await nothing(client, 2)
    await gate.resize(200)
    await slow_log(client, scripts)
    await client.evalsha(sha("part"), 1, key, *filler)
    for _ in range(300):
        await beat(gate)
        await nothing(client, 1)
    await slow_log(client, scripts)


async def handoffs(port, behind, rounds, users=0):
    """A release on one replica wakes the next waiter on the other, with a queue behind.

    With `users`, each visitor is one, and as many more have the queue behind.
    """
    pings, times, beats = Samples(), Samples(), Samples()
    async with opened(port, f"q{behind}") as one, opened(port, f"q{behind}") as two:
        gates = itertools.cycle((one, two))
        released = 0.0
        woken = asyncio.Event()
        go = [asyncio.Event() for _ in range(rounds)]
        queued = asyncio.Event()

        async def visit(number, gate):
            nonlocal released
            name = f"bench-visitor-{behind}-{number:06}"
            ticket = Ticket(name, user=name if users else "")
            async with gate.admit(ticket, on_position=lambda _: queued.set()):
                if number:
                    times.append((time.perf_counter() - released) * 1e6)
                woken.set()
                await go[number].wait()
                released = time.perf_counter()

        tasks = []
        for number in range(rounds):
            queued.clear()
            tasks.append(asyncio.create_task(visit(number, next(gates))))
            await (queued if number else woken).wait()
        *filler, used = await fill(one, behind, users)
        client = redis.Redis(host="127.0.0.1", port=port, socket_timeout=None)
        await client.config_set("slowlog-log-slower-than", LOGGED_US)
        await client.slowlog_reset()
        scripts = {}
        for number in range(rounds):
            await woken.wait()
            woken.clear()
            await ping(client, pings)
            await asyncio.sleep(0.0005)
            with beats.one():
                await beat(one)
            await nothing(client, 3)
            await asyncio.sleep(0.0005)
            go[number].set()
        await asyncio.gather(*tasks)
        await slow_log(client, scripts)
        await rarities(client, one, filler, behind, scripts)
        await client.config_set("slowlog-log-slower-than", -1)
        await client.flushall()
        await client.aclose()
    return pings, times, beats, used / max(behind, 1), scripts


async def others(port):
    """A token list, a polled sorted set, and redis-py's Lock: pair and hand-off."""
    client = redis.Redis(host="127.0.0.1", port=port, decode_responses=True)
    waiter = redis.Redis(host="127.0.0.1", port=port, decode_responses=True)
    result = {}

    async def measure(name, acquire, release, rounds):
        pings, pairs, handed = Samples(), Samples(), Samples()
        for _ in range(rounds):
            await ping(client, pings)
            await asyncio.sleep(0.0005)
            with pairs.one():
                held = await acquire(client)
                await release(client, held)
        for _ in range(rounds):
            held = await acquire(client)
            waiting = asyncio.create_task(acquire(waiter))
            await asyncio.sleep(0.003 + 0.001 * (next(numbers) % 7))
            with handed.one():
                await release(client, held)
                held = await waiting
            await release(waiter, held)
        base = statistics.median(pings)
        result[name] = {
            "ping_us": pings.summary(),
            "pair": round(statistics.median(pairs) / base, 2),
            "handoff_p50": round(statistics.median(handed) / base, 2),
            "handoff_p99": round(handed.quantile(0.99) / pings.quantile(0.99), 2),
        }

    await client.rpush("tokens", "token")
    await measure(
        "blpop tokens",
        lambda redis_: redis_.blpop("tokens"),
        lambda redis_, _: redis_.rpush("tokens", "token"),
        300,
    )

    async def poll(redis_):
        name = f"w{next(numbers)}"
        await redis_.zadd("polled", {name: time.time()})
        while await redis_.zrank("polled", name) != 0:
            await asyncio.sleep(0.05)
        return name

    await measure(
        "polled sorted set (50 ms)", poll, lambda redis_, name: redis_.zrem("polled", name), 60
    )

    async def lock(redis_):
        lock = redis_.lock("lock", timeout=30)
        await lock.acquire()
        return lock

    await measure("redis-py Lock", lock, lambda _, held: held.release(), 40)
    await client.flushall()
    await client.aclose()
    await waiter.aclose()
    return result


async def rates(port, rounds):
    """Requests a second of 50 connections, by redis-benchmark: PING, enter, leave."""
    tool = shutil.which("redis-benchmark")
    if tool is None:
        return {"skipped": "redis-benchmark is missing"}

    async def rate(*command, count, of=10**9):
        process = await asyncio.create_subprocess_exec(
            *(tool, "-p", str(port), "-c", "50", "-n", str(count), "-r", str(of), "--csv"),
            *map(str, command),
            stdout=subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return float(output.decode().splitlines()[-1].rsplit('","', 7)[1])

    client = redis.Redis(host="127.0.0.1", port=port)
    found = []
    async with opened(port, "rates", 10**6) as gate:
        replica, link = gate._replica.identity
        head = (1, gate._key, replica, link)
        for turn in range(rounds):
            names = ("local", "", "")
            enter = ("EVALSHA", sha("enter"), *head, f"e{turn}-__rand_int__", *names, 0, 0)
            leave = ("EVALSHA", sha("leave"), *head, f"l{turn}-__rand_int__", 0, "local", "", "")
            pipe = client.pipeline(transaction=False)
            for number in range(HELD):
                ticket = f"l{turn}-{number:012}"
                pipe.evalsha(sha("enter"), *head, ticket, "local", "", "", 0, 0)
            await pipe.execute()
            # redis-benchmark picks tickets at random: of so many, few leave twice.
            found.append(
                (
                    await rate("PING", count=50_000),
                    await rate(*enter, count=HELD // 5),
                    await rate(*leave, count=HELD // 5, of=HELD),
                )
            )
            await client.delete(f"{gate._key}:tickets:{replica}")
    await client.flushall()
    await client.aclose()
    pings, enters, leaves = (statistics.median(column) for column in zip(*found, strict=True))
    pairs = 1 / (1 / enters + 1 / leaves)
    return {
        "ping_per_s": round(pings),
        "enter_per_s": round(enters),
        "leave_per_s": round(leaves),
        "pair_per_s": round(pairs),
        "pair_to_ping": round(pairs / pings, 3),
    }


def against_ping(what, samples, pings, **target):
    """Return the median in multiples of the PING that was taken beside it."""
    facts = kit.summary(samples)
    base = statistics.median(pings)
    return kit.Figure(
        what,
        "µs",
        facts["median"],
        (facts["p25"], facts["p75"]),
        "a PING",
        base,
        facts["median"] / base,
        **target,
    )


def as_without(what, without, with_users):
    """Return what users cost: medians in multiples of the PINGs beside them, with and without."""
    (base, ratio) = (
        statistics.median(samples) / statistics.median(pings)
        for samples, pings in (without, with_users)
    )
    name = f"{what}, with users"
    return kit.Figure(name, "PINGs", ratio, None, "without", base, ratio / base, most=1.1)


def beside_users(wait, without, with_users):
    """Return the hand-off and the refresh with users, beside those without."""
    times, beats, pings = without
    user_pings, user_times, user_beats, *_ = with_users
    return [
        as_without(wait + "hand-off", (times, pings), (user_times, user_pings)),
        as_without(wait + "position refresh", (beats, pings), (user_beats, user_pings)),
    ]


async def measure(rounds, many, rounds_of_rates):
    figures, details = [], {"script_us": {}}
    with redis_server() as port:
        pings, wire_pings, pairs, admits = await admission(port, rounds)
        figures += [
            against_ping("PING over the gate's own connection", wire_pings, pings),
            against_ping(
                "acquire + release, as `admit` waits",
                admits,
                pings,
                most=2.5,
                note="the release is sent and not waited for",
            ),
            against_ping("acquire + release, both replies awaited", pairs, pings, most=2.5),
        ]
        *_, user_pairs, _ = user_admission = await admission(port, rounds, "user")
        figures.append(
            as_without("acquire + release", (pairs, pings), (user_pairs, user_admission[0]))
        )
        flat = []
        handed = max(10, rounds * 2 // 5)
        for behind in (10, 1000, many):
            pings, times, beats, memory, scripts = await handoffs(port, behind, handed)
            wait = f"{behind:,} waiting: "
            handoff = against_ping(wait + "hand-off", times, pings, most=2.2)
            p99, base_p99 = times.quantile(0.99), pings.quantile(0.99)
            flat.append(handoff.ratio)
            idle, single = (max(scripts.pop(key, [LOGGED_US])) for key in (NOTHING, SINGLE))
            name = max(scripts, key=lambda script: max(scripts[script]))
            longest = max(scripts[name])
            usual = statistics.median(scripts[name]) / 1000
            figures += [
                handoff,
                kit.Figure(
                    wait + "hand-off, p99",
                    "µs",
                    p99,
                    None,
                    "a PING's p99",
                    base_p99,
                    p99 / base_p99,
                    most=2.5,
                ),
                against_ping(wait + "position refresh", beats, pings, most=2.5),
                kit.Figure(
                    wait + "longest script",
                    "ms",
                    longest / 1000,
                    most=2,
                    note=f"{name}, whose median is {usual:.2f} ms",
                ),
                kit.Figure(wait + f'longest `EVAL "{NOTHING}"` beside them', "ms", idle / 1000),
                kit.Figure(wait + "longest command within a script", "ms", single / 1000),
                kit.Figure(wait + "Redis memory a waiter", "bytes", memory, most=400),
            ]
            figures += beside_users(
                wait, (times, beats, pings), await handoffs(port, behind, handed, USERS)
            )
            details["script_us"][behind] = {
                name: {**samples.summary(), "max": max(samples), "count": len(samples)}
                for name, samples in sorted(scripts.items())
            }
        figures.append(
            kit.Figure(f"hand-off, {many:,} waiting to 10", "times", flat[-1] / flat[0], most=1.3)
        )
        found = await rates(port, rounds_of_rates)
        details["rates"] = found
        if "pair_per_s" in found:
            figures.append(
                kit.Figure(
                    "pairs on the server, 50 connections",
                    "1/s",
                    found["pair_per_s"],
                    None,
                    "PINGs",
                    found["ping_per_s"],
                    found["pair_to_ping"],
                    least=0.3,
                )
            )
        details["others"] = await others(port)
        for name, facts in details["others"].items():
            base = facts["ping_us"]["p50"]
            for what, key in (("acquire + release, both awaited", "pair"), ("hand-off", "handoff")):
                ratio = facts[key if key in facts else f"{key}_p50"]
                figures.append(
                    kit.Figure(f"{name}: {what}", "µs", ratio * base, None, "a PING", base, ratio)
                )
    return {"figures": [figure.as_json() for figure in figures], **details}


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict:
    """Measure and return the figures."""
    del out
    rounds = runs or (QUICK_ROUNDS if quick else ROUNDS)
    many = QUICK_MANY if quick else MANY
    rounds_of_rates = QUICK_ROUNDS_OF_RATES if quick else ROUNDS_OF_RATES
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(rounds, many, rounds_of_rates))
