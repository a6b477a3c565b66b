"""An engine that is still being opened: whoever asks it for something waits until it is there.

So that a server can listen before its engine's library is loaded and the engine has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from wsrunner.engines.base import Box, Container, Engine, Left, Space
from wsrunner.late import Late


class LateEngine(Late[Engine]):
    """Does what an `Engine` does, as soon as there is one; see `Late`."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: list[Callable[[], None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Whoever opened the engine closes it, too."""

    def arrive(self, thing: Engine) -> None:
        """See `Late.arrive`."""
        for listener in self._listeners:
            thing.on_change(listener)
        super().arrive(thing)

    def on_change(self, listener: Callable[[], None]) -> None:
        """See `Engine.on_change`."""
        if self.here is None:
            self._listeners.append(listener)
        else:
            self.here.on_change(listener)

    async def ping(self) -> None:
        """See `Engine.ping`."""
        await (await self.wait()).ping()

    async def name(self) -> str:
        """See `Engine.name`."""
        return await (await self.wait()).name()

    async def images(self) -> Mapping[str, str]:
        """See `Engine.images`."""
        return await (await self.wait()).images()

    async def labels(self, image: str) -> Mapping[str, str]:
        """See `Engine.labels`."""
        return await (await self.wait()).labels(image)

    async def start(self, box: Box) -> Container:
        """See `Engine.start`."""
        return await (await self.wait()).start(box)

    async def open_space(self, box: Box, label: str, lasts_s: float | None = None) -> Space:
        """See `Engine.open_space`."""
        return await (await self.wait()).open_space(box, label, lasts_s)

    async def resume_space(self, box: Box, left: Left, lasts_s: float) -> Space | None:
        """See `Engine.resume_space`."""
        return await (await self.wait()).resume_space(box, left, lasts_s)

    async def end_space(self, left: Left) -> None:
        """See `Engine.end_space`."""
        await (await self.wait()).end_space(left)

    async def sweep(self) -> int:
        """See `Engine.sweep`."""
        return await (await self.wait()).sweep()
