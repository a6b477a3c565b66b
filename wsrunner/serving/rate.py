"""How fast one client may do things.

Owns the counts. Pure but for the clock it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wsrunner.bucket import Buckets
from wsrunner.errors import NotAllowedError, RateLimitedError
from wsrunner.runs.job import Principal


class RateLimiter:
    """Lets each key have `per_minute` runs a minute, at most that many at once.

    Args:
        per_minute: Runs a minute; 0 for no limit.
        clock: Monotonic seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets = Buckets()

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
        bucket = self._buckets.of(key, per_minute / 60, per_minute, now)
        if not bucket.take(now):
            raise RateLimitedError(
                f"{whose} has used its {per_minute} runs a minute",
                retry_after_s=bucket.wait_s(1, now),
            )
