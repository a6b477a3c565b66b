"""Warm containers: started, waiting for their one run, so that a run pays no container start.

Owns the doing; `stock` decides. Spare containers hold no slot. Must not know about requests or
sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Self

from wsrunner.engines.base import Box, Container, Engine
from wsrunner.errors import BusyError, ImageMissingError
from wsrunner.runs.stock import Spare, Stock
from wsrunner.runs.tasks import to_the_end

log = logging.getLogger(__name__)

REFILL_DELAY_S = 0.3
"""A short run is left the CPU; a long one does not keep the pool empty."""
PACE = 1.0
"""Pause after a start, as a multiple of the time it took, unless the stock is low: refilling leaves
half a core to runs. What starts can't be nice instead: niceness counts among a container's own
processes (two busy ones in two containers at 0 and 19 shared a core 54 to 46), no right to take it
back is left inside, and other CPU shares take the engine 17 to 70 ms to set."""
COLD_FIRST_S = 1.0
"""How long refilling makes room for runs that start cold."""
LOOK_EVERY_S = 10.0
"""How often demand that has faded, and age, are noticed."""
RETRY_S = 1.0
"""Pause after a refill that failed."""


class Pool:
    """Lends a container for each run, a warm one where there is one.

    Args:
        engine: Starts the containers.
        stock: Says how many there should be.
        floors: Returns, for the images that are present (name → id), how many spare containers to
            keep of which kind whatever the demand.

    ``async with pool`` starts the refilling and destroys what is left at the end.

    Attributes:
        hits: Runs that found a warm container.
        misses: Runs that started one.
    """

    def __init__(
        self,
        engine: Engine,
        stock: Stock,
        *,
        floors: Callable[[Mapping[str, str]], Mapping[Box, int]],
    ) -> None:
        self._engine = engine
        self._floors = floors
        self._stock = stock
        self._look = asyncio.Event()
        self._refiller: asyncio.Task[None] | None = None
        self._cold_starts = 0
        self.hits = 0
        self.misses = 0

    def __repr__(self) -> str:
        return f"<pool {self._stock!r} hits={self.hits} misses={self.misses}>"

    def sizes(self) -> Counter[tuple[str, bool]]:
        """Return how many spare containers there are, by image and whether with a terminal."""
        counts: Counter[tuple[str, bool]] = Counter()
        for box, count in self._stock.sizes().items():
            counts[box.image, box.tty] += count
        return counts

    async def __aenter__(self) -> Self:
        self._engine.on_change(self._look.set)
        self._look.set()
        self._refiller = asyncio.create_task(self._refill(), name="pool refill")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._refiller is not None:
            self._refiller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refiller
        await asyncio.gather(*(spare.container.destroy() for spare in self._stock.clear()))

    @contextlib.asynccontextmanager
    async def lease(self, box: Box) -> AsyncIterator[Container]:
        """Lend a container of that kind for one run; destroyed at the end of the block.

        Raises:
            ImageMissingError: The engine has no such image.
            EngineUnavailableError: The engine does not answer.

        Cancelling is safe; the container is destroyed even so.
        """
        spare = self._stock.take(box, time.monotonic())
        asyncio.get_running_loop().call_later(REFILL_DELAY_S, self._look.set)
        if spare is not None:
            self.hits += 1
            container = spare.container
        else:
            self.misses += 1
            container = await self._start_cold(box)
        try:
            yield container
        finally:
            # A cancelled run must not leave its container, nor free its slot before.
            await to_the_end(container.destroy())

    async def _start_cold(self, box: Box) -> Container:
        self._cold_starts += 1
        try:
            # What it has to start is started faster by its plan.
            return await self._engine.start(box.bare)
        finally:
            self._cold_starts -= 1

    async def _refill(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._look.wait()
            self._look.clear()
            try:
                while await self._step():
                    pass
            except Exception as exc:  # noqa: BLE001
                # Runs go on without, and refilling must not end with one surprise.
                level = logging.DEBUG if isinstance(exc, BusyError) else logging.ERROR
                log.log(level, "no warm containers now: %r", exc)
                await asyncio.sleep(RETRY_S)
                self._look.set()

    async def _step(self) -> bool:
        """Do what the stock decides; return whether there may be more to do."""
        # Runs that start cold are served first; but they must not keep the next ones cold for ever.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COLD_FIRST_S):
                while self._cold_starts > 1:
                    await asyncio.sleep(0.01)
        image_ids = await self._engine.images()
        self._stock.floors = self._floors(image_ids)
        drop, box, hurry = self._stock.decide(time.monotonic(), image_ids)
        for spare in drop:
            await spare.container.destroy()
        if box is None:
            return False
        begun_s = time.monotonic()
        try:
            container = await self._engine.start(box)
        except ImageMissingError:
            return False
        now_s = time.monotonic()
        self._stock.add(box, Spare(container, image_ids[box.image], now_s), now_s - begun_s)
        if not hurry:
            await asyncio.sleep(PACE * (now_s - begun_s))
        return True
