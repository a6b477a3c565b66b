"""Who has which workspace, in Redis.

Owns the key and the commands. No tasks.

::

    {prefix}:spaces:ENGINE:LABEL  hash  owner    the replica that has it; empty if it is left
                                        last     the replica that had it last
                                        made     its `Box`
                                        left     its `Left`, while it is left
                                        born_ms  likewise, when it was made, in Redis' Unix time

A replica has a workspace while it is connected to it. A moment after its last run it leaves it, and
from then on it is whoever's who takes it, be the replica that left it alive or not. One that dies
in a run takes the workspace with it.

A command whose reply did not come may have been carried out. All of these may be given again; only
what had been left of a workspace that was taken so is nobody's any more, and ends by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from wsrunner.engines.base import SPACE_LIFE_S, Box, Left
from wsrunner.gates.asked import Asked, milliseconds
from wsrunner.runs.ledger import Taken, Whose, elsewhere, unfit

SCRIPTS = ("take", "leave", "drop")

_encoder = msgspec.msgpack.Encoder()
_box = msgspec.msgpack.Decoder(Box)
_left = msgspec.msgpack.Decoder(Left)


class RedisLedger(Asked):
    """Redis, as workspaces use it; see `runs.ledger.Ledger`.

    Args:
        url: As for `gates.redis.RedisGate`.
        engine_name: Returns the engine's own name: one that is not on it can't be gone on with.
        prefix: Begins every key.

    Attributes:
        replica: This server's name among those that live; see `live.store.Store.beat`.
    """

    shares = True

    def __init__(
        self, url: str, engine_name: Callable[[], Awaitable[str]], prefix: str = "wsrunner"
    ) -> None:
        super().__init__(url, f"{{{prefix}}}", Path(__file__).parent, SCRIPTS)
        self.replica = ""
        self._engine_name = engine_name
        self._engine = ""

    async def _space(self, label: str) -> str:
        self._engine = self._engine or await self._engine_name()
        return self._key("spaces", f"{self._engine}:{label}")

    @property
    def _living(self) -> str:
        return self._key("live:replica", "")

    async def take(self, label: str, box: Box) -> Taken | None:
        """See `Ledger.take`."""
        given: list[Any] = [
            self.replica,
            self._living,
            _encoder.encode(box),
            milliseconds(SPACE_LIFE_S),
        ]
        key = await self._space(label)
        async with self._asked():
            found, what, *more = await self._scripts["take"]([key], given)
        if found == b"had":
            return None
        if found == b"unfit":
            raise unfit(_box.decode(what), box)
        age_ms, had = more
        return Taken(_left.decode(what) if what else None, age_ms / 1000, bool(had))

    async def leave(self, label: str, box: Box, left: Left, life_s: float, age_s: float) -> bool:
        """See `Ledger.leave`."""
        given: list[Any] = [self.replica, _encoder.encode(left), _encoder.encode(box)]
        given += [milliseconds(life_s), milliseconds(age_s)]
        key = await self._space(label)
        async with self._asked():
            return bool(await self._scripts["leave"]([key], given))

    async def drop(self, label: str, whose: Whose) -> Left | None:
        """See `Ledger.drop`."""
        key = await self._space(label)
        async with self._asked():
            found, left = await self._scripts["drop"]([key], [self.replica, self._living, whose])
        if found == b"had":
            raise elsewhere("a run goes on in it")
        return _left.decode(left) if left else None

    async def gone(self, labels: list[str]) -> set[str]:
        """See `Ledger.gone`."""
        keys = [await self._space(label) for label in labels]
        async with self._asked():
            pipe = self._redis.pipeline(transaction=False)
            for key in keys:
                pipe.hget(key, "last")
            found = await pipe.execute()
        own = self.replica.encode()
        return {label for label, last in zip(labels, found, strict=True) if last != own}
