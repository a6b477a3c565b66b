"""How many sockets and HTTP runs there may be at once: of an address, a tenant, one of its users.

Those of the monitor have a bound of their own. Owns the counts. What is refused here has passed the
checks of `handshake` or `doors`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from wsrunner.errors import NoSeatError
from wsrunner.runs.job import Principal
from wsrunner.serving.access import is_loopback
from wsrunner.serving.paths import MONITOR_PATH

MONITORS_MOST = 32
"""Sockets of the monitor: each is sent the whole state every second."""
RETRY_AFTER_S = 5.0
"""When to try again: nobody knows when a socket will be closed."""


class Seats:
    """Counts what is open, and refuses what is beyond the limits.

    Args:
        per_address: Sockets and HTTP runs that one client address may have at once; 0 for no limit.
            Loopback addresses have none: they are many people's where a proxy or a tunnel ends
            there.
    """

    def __init__(self, per_address: int) -> None:
        self._per_address = per_address
        self._taken: Counter[str] = Counter()

    def take(self, principal: Principal, path: str = "") -> Callable[[], None]:
        """Count one more; returns what counts it no more, to be called once.

        Args:
            principal: The client.
            path: What it asks for.

        Raises:
            NoSeatError: There is no room.
        """
        limits: dict[str, int] = {}
        address, tenant = principal.client, f"tenant {principal.tenant}"
        if principal.may.sockets:
            limits[tenant] = principal.may.sockets
        user = f"{tenant}\n{principal.user}"
        if principal.may.user_sockets:
            limits[user] = principal.may.user_sockets
        if self._per_address and not is_loopback(address):
            limits[address] = self._per_address
        if path == MONITOR_PATH:
            limits[path] = MONITORS_MOST
        for key, most in limits.items():
            if self._taken[key] >= most:
                whose = "this user" if key == user else key
                raise NoSeatError(
                    f"{whose} has {most} socket{'s' * (most > 1)} open and may have no more",
                    retry_after_s=RETRY_AFTER_S,
                )
        self._taken.update(limits.keys())
        return partial(self._leave, tuple(limits))

    def _leave(self, keys: tuple[str, ...]) -> None:
        self._taken.subtract(keys)
        # Addresses that come no more are forgotten.
        for key in keys:
            if not self._taken[key]:
                del self._taken[key]
