"""How fast one client may start runs: a token bucket for each address.

Owns the buckets. Pure but for the clock it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wsrunner.errors import RateLimitedError

FORGET_AT = 10_000
"""Clients remembered before those with full buckets are forgotten."""


class RateLimiter:
    """Lets each key have `per_minute` runs a minute, at most that many at once.

    Args:
        per_minute: Runs a minute; 0 for no limit.
        clock: Monotonic seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> None:
        """Count one run.

        Raises:
            RateLimitedError: The key has used up its runs; carries `retry_after_s`.
        """
        if not self._per_minute:
            return
        now = self._clock()
        if len(self._buckets) >= FORGET_AT:
            self._buckets = {
                each: (left, at)
                for each, (left, at) in self._buckets.items()
                if now - at < 60  # noqa: PLR2004
            }
        left, at = self._buckets.get(key, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - at) * self._per_minute / 60)
        if left < 1:
            self._buckets[key] = (left, now)
            wait_s = (1 - left) * 60 / self._per_minute
            raise RateLimitedError(
                f"this address has used its {self._per_minute} runs a minute",
                retry_after_s=wait_s,
            )
        self._buckets[key] = (left - 1, now)
