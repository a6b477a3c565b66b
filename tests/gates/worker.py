"""A replica for the recorded histories: visitors come and go, everything is written down.

Run as ``python worker.py '{"url": …}'``; ends when its stdin does. A line of the history is
[time, replica, event, ticket, …]; the time is the machine's monotonic clock, shared by all.

    asks    engine             the visit begins
    place   seq                Redis told its place
    at      position
    runs    fence
    lost                       permit.lost is set
    ends    how                the visit is over: "done", "cancelled", "lost", or an error's code
    beats   when it was sent   a heartbeat was answered
    blocks  seconds            the event loop stands still from now on, for so long
"""

import asyncio
import json
import os
import random
import sys
import time

import planted

import wsrunner.gates.redis as redis_gate
from wsrunner.errors import BusyError
from wsrunner.gates import scripts
from wsrunner.gates.base import Ticket
from wsrunner.gates.replica import Replica


class Worker:
    def __init__(self, *, url, prefix, name, log, slots, caps, lease_s, visitors, seed, **options):
        self.name = name
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.dice = random.Random(f"{seed}{name}")
        self.visitors = visitors
        self.hold_s = options.get("hold_s", 0.02)
        self.cancels = options.get("cancels", 0.2)
        self.deaf = options.get("deaf", 0.0)
        self.started = 0
        self.stopping = asyncio.Event()
        if bug := options.get("bug"):
            plant(bug)
        self.gate = redis_gate.RedisGate(
            url, slots, 1000, caps, lease_s=lease_s, prefix=prefix, name=name
        )
        worker = self

        class Recorded(Replica):
            def _queued(self, stay, seq, *counts):
                worker.note("place", stay.ticket.id, seq)
                super()._queued(stay, seq, *counts)

            def heard(self, letter):
                if worker.dice.random() >= worker.deaf:
                    super().heard(letter)

            def beaten(self, reply, sent_s):
                again = super().beaten(reply, sent_s)
                worker.note("beats", "", sent_s)
                return again

            def _leave(self, ticket, fence):
                for _ in range(2 if options.get("leaves_twice") else 1):
                    super()._leave(ticket, fence)

        self.gate._replica.__class__ = Recorded
        if options.get("no_deadline"):
            self.gate._replica.held_s = 3600

    def note(self, event, ticket="", *values):
        line = json.dumps([time.monotonic(), self.name, event, ticket, *values])
        os.write(self.log, line.encode() + b"\n")

    async def visit(self):
        self.started += 1
        engine = self.dice.choice("aabb")
        user = self.dice.choice(["", "greedy", "greedy", "modest"])
        name = f"{self.name}-{os.getpid()}-{self.started}"
        ticket = Ticket(name, engine=engine, user=user)
        self.note("asks", ticket.id, engine)
        how = "done"
        patience_s = self.dice.uniform(0, 0.5) if self.dice.random() < self.cancels else 600
        try:
            async with asyncio.timeout(patience_s):
                how = await self.stay(ticket)
        except TimeoutError:
            how = "cancelled"
        except BusyError as exc:
            how = exc.code
            await asyncio.sleep(0.05)
        finally:
            self.note("ends", ticket.id, how)

    async def stay(self, ticket):
        def on_position(place):
            self.note("at", ticket.id, place.position)

        async with self.gate.admit(ticket, on_position=on_position) as permit:
            try:
                if permit.lost.is_set():
                    return "lost"
                self.note("runs", ticket.id, permit.fence)
                async with asyncio.timeout(self.dice.uniform(0, 2 * self.hold_s)):
                    await permit.lost.wait()
                self.note("lost", ticket.id)
            except TimeoutError:
                return "done"
            else:
                return "lost"
            finally:
                # Written before the slot goes back, so that what is written never overlaps more
                # than what happened.
                self.note("stops", ticket.id)

    async def visits(self):
        while not self.stopping.is_set():
            await self.visit()

    async def run(self):
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        async with self.gate:
            self.note("opens")
            tasks = [asyncio.create_task(self.visits()) for _ in range(self.visitors)]
            while command := (await reader.readline()).decode().split():
                if command[0] == "block":
                    self.note("blocks", "", float(command[1]))
                    time.sleep(float(command[1]))  # noqa: ASYNC251  that is the fault
            self.stopping.set()
            await asyncio.gather(*tasks)
        self.note("closes")


def plant(bug):
    sound = scripts.script
    change = planted.planter(bug)
    scripts.script = redis_gate.script = lambda name: change(sound(name))
    scripts.sha.cache_clear()


if __name__ == "__main__":
    asyncio.run(Worker(**json.loads(sys.argv[1])).run())
