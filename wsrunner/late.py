"""A thing that is still being opened, for those who have been given it already.

Imports nothing of wsrunner.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Late(Generic[Thing]):
    """Stands in for a thing until it arrives; one that never does is whoever opens it's to tell.

    Attributes:
        here: The thing; None until it has arrived.
    """

    def __init__(self) -> None:
        self.here: Thing | None = None
        self._arrived = asyncio.Event()

    def arrive(self, thing: Thing) -> None:
        """Give it to all who wait, and to all who will ask."""
        self.here = thing
        self._arrived.set()

    async def wait(self) -> Thing:
        """Return the thing once it is here. Cancelling is safe."""
        await self._arrived.wait()
        assert self.here is not None
        return self.here
