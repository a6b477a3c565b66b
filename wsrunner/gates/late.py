"""A gate that is still being opened: whoever asks it for something waits until it is there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Self

from wsrunner.gates.base import Gate, GateState, Permit, PositionListener, Shares, Ticket
from wsrunner.late import Late


class LateGate(Late[Gate]):
    """Does what a `Gate` does, as soon as there is one; see `Late`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Whoever opened the gate closes it, too."""

    @contextlib.asynccontextmanager
    async def admit(
        self, ticket: Ticket, *, on_position: PositionListener
    ) -> AsyncIterator[Permit]:
        """See `Gate.admit`."""
        gate = await self.wait()
        async with gate.admit(ticket, on_position=on_position) as permit:
            yield permit

    async def state(self) -> GateState:
        """See `Gate.state`."""
        return await (await self.wait()).state()

    async def resize(self, slots: int) -> None:
        """See `Gate.resize`."""
        await (await self.wait()).resize(slots)

    async def resize_engine(self, engine: str, slots: int | None) -> None:
        """See `Gate.resize_engine`."""
        await (await self.wait()).resize_engine(engine, slots)

    async def share(self, tenant: str, shares: Shares) -> None:
        """See `Gate.share`."""
        await (await self.wait()).share(tenant, shares)
