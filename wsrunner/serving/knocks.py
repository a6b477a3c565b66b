"""How many connections a second one address may open.

Owns the counts. Pure but for the clock it is given. Each connection costs a handshake, TLS's most
of all, before anything is known of who asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wsrunner.bucket import Buckets
from wsrunner.serving.access import is_loopback

BURST_S = 5.0
"""For how many seconds' connections an address may be ahead of its rate."""


class Knocks:
    """Counts new connections by address.

    Args:
        per_s: Connections a second that one address may open over time; 0 for no limit. Loopback
            addresses have none, as they are many people's where a proxy or a tunnel ends there.
        clock: Monotonic seconds.
    """

    def __init__(self, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = per_s * BURST_S
        self._clock = clock
        self._buckets = Buckets()

    def wait_s(self, address: str) -> float:
        """Count a connection; returns 0, or after how many seconds a further one is welcome."""
        if not self._per_s or is_loopback(address):
            return 0.0
        now = self._clock()
        bucket = self._buckets.of(address, self._per_s, self._burst, now)
        return 0.0 if bucket.take(now) else bucket.wait_s(1, now)
