"""Runs whose connections are cut at every moment, over servers of which one is killed now and then.

``python -m tests.live.storm 10000`` starts three servers on one Redis, and goes on until so many
connections have been cut: after so many bytes or at any time, so before a run is accepted, while it
waits for a slot, is built, prints, reads or ends. Each run is a conversation whose transcript is
known: what is heard must be just that, or less by what an explicit gap says; the exit comes once.
Of a killed server's runs the beginning of the transcript and `replica_lost` are right.
"""

import argparse
import asyncio
import contextlib
import random
import secrets
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.gates.servers import RedisServer
from tests.live.cutter import Cutter
from tests.serving import Serving
from wsrunner.client import Client, ConnectError, RunRefusedError

PYTHON = """
import sys
print('begun', sys.argv[1], flush=True)
for line in sys.stdin:
    print('got', line, end='', flush=True)
    for n in range(int(line)):
        print('%08d' % n)
    sys.stdout.flush()
print('over')
raise SystemExit(7)
"""
C = """
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **arguments) {
    char line[64];
    printf("begun %s\\n", arguments[1]);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        printf("got %s", line);
        fflush(stdout);
        for (int n = 0; n < atoi(line); n++) printf("%08d\\n", n);
        fflush(stdout);
    }
    puts("over");
    return 7;
}
"""
PROGRAMS = {"python": PYTHON, "c": C}
RUN_S = 120
MOMENTS = (0, 40, 150, 400, 700, 1000, 1500, 3000, 10_000, 60_000)
"""Bytes of a connection after which it may be cut, both directions: its handshake has about 500."""
CUT_WITHIN_S = 0.6
"""Or the time, for some: while nothing is sent, too."""


def transcript(name, lines):
    """Return what such a run prints."""
    parts = [f"begun {name}\n"]
    for line in lines:
        parts += [f"got {line}\n", *(f"{n:08d}\n" for n in range(line))]
    return "".join([*parts, "over\n"])


class Storm:
    """Runs at once, each with a way of its own that breaks off again and again.

    Attributes:
        seen: How often what happened.
        replicas_die: Whether a run may end as `replica_lost`.
        languages: Of the programs; those of C are built first.
    """

    def __init__(self, addresses, seed, *, replicas_die=False, languages=("python",)):
        self.addresses = addresses
        self.seed = seed
        self.replicas_die = replicas_die
        self.languages = languages
        self.seen = Counter()
        self._count = 0

    async def go(self, cuts, at_once):
        """Let runs go until so many connections have been cut."""

        async def one_after_the_other():
            while self.seen["cuts"] < cuts:
                self._count += 1
                await self.run(self.seed * 100_000 + self._count)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(one_after_the_other())

    async def run(self, seed):
        """Carry one conversation through, and hold it against what is promised."""
        chance = random.Random(seed)
        lines = [chance.choice((0, 1, 30, 5000)) for _ in range(chance.randint(0, 4))]
        language = chance.choice(self.languages)
        name = secrets.token_hex(4)
        async with Cutter(self.addresses, seed) as way:
            left = chance.randint(1, 6)

            def cut_after():
                # The last connection holds, or nothing would ever end.
                nonlocal left
                left -= 1
                if left < 0:
                    return None
                self.seen["cuts"] += 1
                if chance.random() < 0.4:
                    loop = asyncio.get_running_loop()
                    loop.call_later(chance.uniform(0, CUT_WITHIN_S), way.cut)
                    return None
                return chance.choice(MOMENTS) + chance.randint(0, 300)

            way.cut_after = cut_after
            try:
                async with asyncio.timeout(RUN_S):
                    heard, ended = await self._converse(way, language, name, lines)
            except RunRefusedError as exc:
                if not self.replicas_die:
                    raise
                # Refused by a server that was dying, or just starting.
                self.seen[f"refused: {exc.code}"] += 1
                return
            except BaseException as exc:
                exc.add_note(f"seed {seed}: lines {lines}, name {name}")
                raise
        self._judge(f"seed {seed}", transcript(name, lines), heard, ended)

    async def _converse(self, way, language, name, lines):
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(await _connected(way))
            run = await client.run(
                language,
                code=PROGRAMS[language],
                args=[name],
                keep_s=60,
                limits={"wall_s": 60},
                on_queued=lambda *_: self.seen.update(["queued"]),
                on_started=lambda stage: self.seen.update([stage]),
            )

            async def drive():
                for line in lines:
                    await run.stdin(f"{line}\n")
                await run.eof()

            driving = asyncio.create_task(drive())
            heard = "".join([output.data.decode() async for output in run])
            await driving
            return (heard, run.missed_bytes), await run.exit()

    def _judge(self, what, expected, heard, ended):
        text, missed = heard
        self.seen[ended.reason] += 1
        if ended.reason == "replica_lost":
            assert self.replicas_die, what
            assert missed or expected.startswith(text), f"{what}: {text[-100:]!r}"
            return
        assert (ended.reason, ended.code) == ("exited", 7), f"{what}: {ended}"
        if missed:
            self.seen["gaps"] += 1
            assert len(text) + missed == len(expected), what
        else:
            assert text == expected, f"{what}: {len(text)} of {len(expected)} bytes"


async def _connected(way):
    """Return a client that can connect: the first connection is no run's yet."""
    cut_after, way.cut_after = way.cut_after, lambda: None
    try:
        client = Client(way.url)
        while True:
            try:
                opened = await client.__aenter__()
                break
            except ConnectError:
                # That server has just been killed.
                await asyncio.sleep(0.1)
    finally:
        way.cut_after = cut_after

    @contextlib.asynccontextmanager
    async def closing():
        try:
            # From the first byte on this one may break off, too.
            asyncio.get_running_loop().call_later(random.random() / 5, way.cut)
            yield opened
        finally:
            await client.__aexit__(None, None, None)

    return closing()


async def kill_now_and_then(servers, every_s, chance):
    """Kill one server after the other, and start it again."""
    while True:
        await asyncio.sleep(every_s)
        server = chance.choice(servers)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(server.start)


async def _main(cuts, seed, at_once, kill_every_s):
    binary = shutil.which("redis-server")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer(binary, Path(folder)))
        servers = []
        for number in range(3):
            server = Serving(
                Path(folder) / f"{number}.log",
                redis_url=redis.tcp_url,
                slots=max(2, at_once - 2),
                kept_max=100_000,
                kept_mb=100_000,
                journal_s=60,
                lease_s=3,
                warm="python=2",
                port=redis.port + 100 + number,
            )
            servers.append(server.start())
            stack.callback(server.stop)
        storm = Storm(
            [each.address for each in servers],
            seed,
            replicas_die=kill_every_s > 0,
            languages=tuple(PROGRAMS),
        )
        began_s = time.monotonic()
        killer = None
        if kill_every_s:
            killing = kill_now_and_then(servers, kill_every_s, random.Random(seed))
            killer = asyncio.create_task(killing)
        try:
            await storm.go(cuts, at_once)
        finally:
            print(f"seed {seed}, {time.monotonic() - began_s:.0f} s: {dict(storm.seen)}")  # noqa: T201
            if killer is not None:
                killer.cancel()
                await asyncio.gather(killer, return_exceptions=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cuts", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("--kill-every-s", type=float, default=20)
    given = parser.parse_args()
    asyncio.run(_main(given.cuts, given.seed, given.at_once, given.kill_every_s))
