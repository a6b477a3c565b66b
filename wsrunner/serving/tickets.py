"""Tickets: what opens one socket, once, where a client can set neither header nor subprotocol.

Owns them while they count: in memory, or in the Redis that replicas share. A ticket may end up in
the log of a proxy, as part of a URL; by then it is used, or old.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from wsrunner.errors import NoSeatError
from wsrunner.runs.job import Principal

if TYPE_CHECKING:
    from wsrunner.live.store import Store

LIFE_S = 30.0
TICKETS_MAX = 10_000
"""Tickets of one server without Redis that have not been used yet."""
PARAMETER = "ticket"
_BYTES = 24

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Principal)


class Tickets:
    """Gives tickets, and takes each once.

    Args:
        store: Where replicas share them; None for this process alone.
        now: A clock in seconds.
    """

    def __init__(self, store: Store | None, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._here: dict[str, tuple[float, bytes]] = {}  # in the order in which they end

    async def issue(self, principal: Principal) -> str:
        """Return a ticket that stands for somebody.

        Raises:
            NoSeatError: Too many have not been used.
            GateUnavailableError: Redis can't be reached.

        Cancelling is safe: a ticket that nobody knows ends by itself.
        """
        ticket = secrets.token_urlsafe(_BYTES)
        content = _encoder.encode(principal)
        if self._store is not None:
            await self._store.put_ticket(_hashed(ticket), content, LIFE_S)
            return ticket
        now = self._now()
        while self._here and next(iter(self._here.values()))[0] <= now:
            del self._here[next(iter(self._here))]
        if len(self._here) >= TICKETS_MAX:
            raise NoSeatError(
                f"{TICKETS_MAX} tickets have not been used yet; there may be no more",
                retry_after_s=LIFE_S,
            )
        self._here[_hashed(ticket)] = now + LIFE_S, content
        return ticket

    async def redeem(self, ticket: str) -> Principal | None:
        """Return whom a ticket stands for, once; None if it is none, used, or old.

        Raises:
            GateUnavailableError: Redis can't be reached.
        """
        if self._store is not None:
            content = await self._store.take_ticket(_hashed(ticket))
        else:
            ends_s, content = self._here.pop(_hashed(ticket), (0.0, None))
            if content is not None and ends_s <= self._now():
                content = None
        return None if content is None else _decoder.decode(content)


def _hashed(ticket: str) -> str:
    return hashlib.sha256(ticket.encode(errors="surrogateescape")).hexdigest()
