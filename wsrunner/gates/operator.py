"""What an operator sees of a gate in Redis, and sets there."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Self

from redis.exceptions import RedisError

from wsrunner.gates.base import EngineState, GateState, Shares
from wsrunner.gates.replica import unavailable
from wsrunner.gates.scripts import script
from wsrunner.gates.wire import Server, Wire

OPEN_S = 5.0
"""Seconds that opening waits for Redis, and an operator for a reply."""


class Desk(ABC):
    """What an operator sees and sets; how commands travel is the subclass's business."""

    def __init__(self, prefix: str) -> None:
        self._key = f"{{{prefix}}}:gate"

    @abstractmethod
    async def _ask(self, *command: str | int) -> Any: ...

    async def state(self) -> GateState:
        """Return a snapshot. Cancelling is safe.

        Raises:
            GateUnavailableError: Redis can't be reached.
        """
        flat = await self._ask("HGETALL", self._key)
        replicas = await self._ask("ZRANGE", f"{self._key}:replicas", 0, -1)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        seats = [fields.get(f"name:{replica}", "").partition(" ") for replica in replicas]
        engines = {engine for engine, _, _ in seats if engine}
        engines |= {name[2:] for name in fields if name.startswith("e:")}
        engines |= {name[4:] for name in fields if name.startswith("cap:")}
        return GateState(
            slots=int(fields.get("slots", 0)),
            held=int(fields.get("held", 0)),
            waiting=int(fields.get("waiting", 0)),
            queue_max=int(fields.get("queue_max", 0)),
            engines={
                name: EngineState(
                    int(fields.get(f"e:{name}", 0)),
                    int(fields[f"cap:{name}"]) if f"cap:{name}" in fields else None,
                )
                for name in sorted(engines)
            },
            replicas=len(replicas),
            replica_names=sorted(name for _, _, name in seats if name),
        )

    async def resize(self, slots: int) -> None:
        """Set N; see `gates.base.Gate.resize`. Cancelling is safe."""
        if slots < 1:
            raise ValueError(f"a gate has at least 1 slot, not {slots}")
        await self._tune("slots", str(slots))

    async def share(self, tenant: str, shares: Shares) -> None:
        """Set what one tenant may use; see `gates.base.Gate.share`. Cancelling is safe."""
        pairs = f"slots:{tenant}", str(shares.slots), f"queue:{tenant}", str(shares.queue)
        await self._ask("EVAL", script("tune"), 1, self._key, *pairs)

    async def resize_engine(self, engine: str, slots: int | None) -> None:
        """Set an engine's own capacity; see `gates.base.Gate.resize_engine`. Cancelling is safe."""
        if slots is not None and slots < 0:
            raise ValueError(f"an engine has 0 slots or more, not {slots}")
        await self._tune(f"cap:{engine}", "" if slots is None else str(slots))

    async def _tune(self, name: str, value: str) -> None:
        await self._ask("EVAL", script("tune"), 1, self._key, name, value)


class Operator(Desk):
    """Shows and changes a gate without being a replica: it declares nothing and holds nothing up.

    Args:
        url: As for `RedisGate`.
        prefix: The gate's.

    Raises:
        SetupError: The URL can't be understood.
    """

    def __init__(self, url: str, prefix: str = "wsrunner") -> None:
        super().__init__(prefix)
        self._server = Server(url, OPEN_S)
        self._wire = Wire()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(OPEN_S):
                await self._server.open(self._wire, self._key)
        except (RedisError, OSError) as exc:
            await self.__aexit__()
            raise unavailable(f"{self._server} can't be reached: {exc}") from exc
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._wire.close()
        await self._server.close()

    async def _ask(self, *command: str | int) -> Any:
        try:
            async with asyncio.timeout(OPEN_S):
                return await self._wire.exchange(*command)
        except (RedisError, OSError) as exc:
            raise unavailable(str(exc)) from exc
