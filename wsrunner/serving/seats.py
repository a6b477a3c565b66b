"""How many sockets there may be at once: of one address, and of the monitor.

Owns the counts. What is refused here has passed `site`'s checks.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Response

from wsrunner.serving import answers, site
from wsrunner.serving.access import is_loopback

MONITORS_MOST = 32
"""Sockets of the monitor: each is sent the whole state every second."""
RETRY_AFTER_S = 5.0
"""When to try again: nobody knows when a socket will be closed."""


class Seats:
    """Counts open sockets, and refuses those beyond the limits.

    Args:
        per_address: Sockets that one client address may have open; 0 for no limit. Loopback
            addresses have none: they are many people's where a proxy or a tunnel ends there.
    """

    def __init__(self, per_address: int) -> None:
        self._per_address = per_address
        self._taken: Counter[str] = Counter()

    def take(self, connection: ServerConnection, address: str, path: str) -> Response | None:
        """Count a socket until its connection is lost; returns the refusal if there is no room."""
        limits: dict[str, int] = {}
        if self._per_address and not is_loopback(address):
            limits[address] = self._per_address
        if path == site.MONITOR_PATH:
            limits[path] = MONITORS_MOST
        for key, most in limits.items():
            if self._taken[key] >= most:
                reason = f"{key} has {most} sockets open and may have no more"
                return answers.error(429, "busy", reason, RETRY_AFTER_S)
        if limits:
            self._taken.update(limits.keys())
            leave = partial(self._leave, tuple(limits))
            connection.connection_lost_waiter.add_done_callback(leave)
        return None

    def _leave(self, keys: tuple[str, ...], _: object) -> None:
        self._taken.subtract(keys)
        # Addresses that come no more are forgotten.
        for key in keys:
            if not self._taken[key]:
                del self._taken[key]
