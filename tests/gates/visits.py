"""A visit: one task that asks a gate for admission, stays until told to go, and keeps a diary."""

import asyncio
import itertools

from wsrunner.gates.base import Ticket

numbers = itertools.count(1)


class Visit:
    def __init__(self, gate, engine="local", tenant="", name=None, user=""):
        self.ticket = Ticket(name or f"t{next(numbers)}", tenant, engine, user)
        self.gate = gate
        self.positions = []
        self.waiting = []
        self.etas_s = []
        self.queued = asyncio.Event()
        self.admitted = asyncio.Event()
        self.go = asyncio.Event()
        self.moved = asyncio.Event()
        self.permit = None
        self.task = asyncio.create_task(self._run())

    def on_position(self, place):
        self.positions.append(place.position)
        self.waiting.append(place.waiting)
        self.etas_s.append(place.eta_s)
        self.queued.set()
        self.moved.set()

    async def _run(self):
        async with self.gate.admit(self.ticket, on_position=self.on_position) as permit:
            self.permit = permit
            self.admitted.set()
            await self.go.wait()

    async def _until(self, event):
        """Wait for the event, or raise what ended the visit before it."""
        waiter = asyncio.create_task(event.wait())
        try:
            async with asyncio.timeout(20):
                await asyncio.wait({waiter, self.task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        if not event.is_set():
            await self.task
            raise AssertionError("the visit ended before that")

    async def is_queued(self):
        await self._until(self.queued)
        return self

    async def is_admitted(self):
        await self._until(self.admitted)
        return self

    async def at_position(self, position):
        while not self.positions or self.positions[-1] != position:
            self.moved.clear()
            await self._until(self.moved)
        return self

    async def leave(self):
        self.go.set()
        await self.task

    async def cancel(self):
        self.task.cancel()
        await asyncio.wait({self.task})


async def settled(gate, **expected):
    """Wait until the gate's state has these values: a release need not be seen at once."""
    async with asyncio.timeout(20):
        while True:
            state = await gate.state()
            if all(getattr(state, name) == value for name, value in expected.items()):
                return state
            await asyncio.sleep(0.01)
