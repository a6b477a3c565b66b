"""Tickets: what opens one socket, once, where a client can set neither header nor subprotocol.

Owns them while they count: in memory, or in the Redis that replicas share. A ticket may end up in
the log of a proxy, as part of a URL; by then it is used, or old.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from wsrunner.errors import NoSeatError
from wsrunner.runs.job import Principal

if TYPE_CHECKING:
    from wsrunner.live.store import Store

LIFE_S = 30.0
TICKETS_MAX = 10_000
"""Tickets given by one server that have not been used yet."""
TICKETS_EACH_MAX = 1_000
"""Those of one tenant; where there are no tenants, of one client."""
PARAMETER = "ticket"
_BYTES = 24

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Principal)


class _Ticket(NamedTuple):
    ends_s: float
    owner: str
    content: bytes


class Tickets:
    """Gives tickets, and takes each once.

    Args:
        store: Where replicas share them; None for this process alone.
        now: A clock in seconds.
    """

    def __init__(self, store: Store | None, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        # In the order in which they end; what they stand for only where there is no store.
        self._here: dict[str, _Ticket] = {}
        self._of: Counter[str] = Counter()

    async def issue(self, principal: Principal) -> str:
        """Return a ticket that stands for somebody.

        Raises:
            NoSeatError: Too many have not been used, of all or of one tenant or client.
            GateUnavailableError: Redis can't be reached.

        Cancelling is safe: a ticket that nobody knows ends by itself.
        """
        ticket = secrets.token_urlsafe(_BYTES)
        content = _encoder.encode(principal)
        owner = principal.tenant or f"@{principal.client}"
        self._check_place(owner)
        hashed = _hashed(ticket)
        if self._store is not None:
            await self._store.put_ticket(hashed, content, LIFE_S)
            content = b""
        self._here[hashed] = _Ticket(self._now() + LIFE_S, owner, content)
        self._of[owner] += 1
        return ticket

    def _check_place(self, owner: str) -> None:
        now = self._now()
        while self._here and next(iter(self._here.values())).ends_s <= now:
            self._take(next(iter(self._here)))
        for count, most, whose in (
            (len(self._here), TICKETS_MAX, ""),
            (self._of[owner], TICKETS_EACH_MAX, " of this tenant or client"),
        ):
            if count >= most:
                raise NoSeatError(
                    f"{count} tickets{whose} have not been used yet; the limit is {most} tickets",
                    retry_after_s=LIFE_S,
                )

    def _take(self, hashed: str) -> _Ticket | None:
        ticket = self._here.pop(hashed, None)
        if ticket is not None:
            self._of[ticket.owner] -= 1
            if not self._of[ticket.owner]:
                del self._of[ticket.owner]
        return ticket

    async def redeem(self, ticket: str) -> Principal | None:
        """Return whom a ticket stands for, once; None if it is none, used, or old.

        Raises:
            GateUnavailableError: Redis can't be reached.
        """
        hashed = _hashed(ticket)
        here = self._take(hashed)
        if self._store is not None:
            content = await self._store.take_ticket(hashed)
        else:
            content = here.content if here and here.ends_s > self._now() else None
        return None if content is None else _decoder.decode(content)


def _hashed(ticket: str) -> str:
    return hashlib.sha256(ticket.encode(errors="surrogateescape")).hexdigest()
