"""How fast one client may do things.

Owns the counts. Pure but for the clock it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wsrunner.errors import NotAllowedError, RateLimitedError
from wsrunner.runs.job import Principal

FORGET_AT = 10_000
"""Clients remembered before those with full buckets are forgotten."""


class Bucket:
    """Holds up to `burst` tokens, filled with `per_s` a second; full at first.

    Args:
        per_s: Tokens a second, above 0.
        burst: Most tokens, at least 1.
        now: The present in seconds of the clock that all later times are of.
    """

    __slots__ = ("_at", "_left", "_per_s", "burst")

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self.burst = burst
        self._left = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take a token; returns whether there was one."""
        self._fill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def wait_s(self, tokens: float, now: float) -> float:
        """Return after how long there will be so many tokens."""
        self._fill(now)
        return max(0.0, (tokens - self._left) / self._per_s)

    def _fill(self, now: float) -> None:
        self._left = min(self.burst, self._left + (now - self._at) * self._per_s)
        self._at = now


class RateLimiter:
    """Lets each key have `per_minute` runs a minute, at most that many at once.

    Args:
        per_minute: Runs a minute; 0 for no limit.
        clock: Monotonic seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def admit(self, principal: Principal) -> None:
        """Count one run of a client, and of its tenant.

        Raises:
            NotAllowedError: It may only watch.
            RateLimitedError: It, or its tenant, has used up its runs; carries `retry_after_s`.
        """
        if not principal.drives:
            raise NotAllowedError("this token lets you watch, and not run anything")
        if principal.may.runs_per_minute:
            whose = f"tenant {principal.tenant}"
            self._take(whose, principal.may.runs_per_minute, whose)
        self.take(principal.client)

    def take(self, key: str) -> None:
        """Count one run.

        Raises:
            RateLimitedError: The key has used up its runs; carries `retry_after_s`.
        """
        if self._per_minute:
            self._take(key, self._per_minute, "this address")

    def _take(self, key: str, per_minute: int, whose: str) -> None:
        now = self._clock()
        if len(self._buckets) >= FORGET_AT:
            self._buckets = {
                each: bucket
                for each, bucket in self._buckets.items()
                if bucket.wait_s(bucket.burst, now) > 0
            }
        bucket = self._buckets.get(key)
        if bucket is None or bucket.burst != per_minute:
            bucket = self._buckets[key] = Bucket(per_minute / 60, per_minute, now)
        if not bucket.take(now):
            raise RateLimitedError(
                f"{whose} has used its {per_minute} runs a minute",
                retry_after_s=bucket.wait_s(1, now),
            )
