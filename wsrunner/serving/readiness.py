"""Whether this server could take a run now: do engine and gate answer?

Owns that answer for a second: anybody may ask as often as they like.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from wsrunner.errors import StartingError, WsrunnerError
from wsrunner.runs.host import Host

KEPT_S = 1.0
"""How long an answer holds: about as often as a balancer asks."""


class Readiness:
    """Asks engine and gate, and keeps what they say.

    Args:
        host: Where they are.
        clock: Monotonic seconds.
    """

    def __init__(self, host: Host, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock
        self._asked: asyncio.Task[WsrunnerError | None] | None = None
        self._holds_until_s = 0.0

    async def failure(self) -> WsrunnerError | None:
        """Return why it could not, None if it could. Cancelling is safe."""
        if self._host.starting:
            return StartingError("the server is starting: its container engine has yet to answer")
        if self._asked is None or (self._asked.done() and self._clock() >= self._holds_until_s):
            self._asked = asyncio.create_task(self._ask(), name="readiness")
        # Others may wait for it, too.
        return await asyncio.shield(self._asked)

    async def _ask(self) -> WsrunnerError | None:
        try:
            await self._host.engine.ping()
            await self._host.gate.state()
        except WsrunnerError as exc:
            return exc
        finally:
            self._holds_until_s = self._clock() + KEPT_S
        return None
