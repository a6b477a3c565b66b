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
        """Count one run of a client, of its tenant's user, and of its tenant.

        Raises:
            NotAllowedError: It may only watch.
            RateLimitedError: One of them has used up its runs; carries `retry_after_s`.
        """
        if not principal.drives:
            raise NotAllowedError("this token lets you watch, and not run anything")
        # The tenant comes last: who is refused alone takes nothing of the others'.
        self.take(principal.client)
        may, tenant = principal.may, f"tenant {principal.tenant}"
        if may.user_runs_per_minute:
            user = f"{tenant}\n{principal.user}"
            self._take(user, may.user_runs_per_minute, "this user")
        if may.runs_per_minute:
            self._take(tenant, may.runs_per_minute, tenant)

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
                f"{whose} has used its {per_minute} run{'s' * (per_minute > 1)} a minute",
                retry_after_s=bucket.wait_s(1, now),
            )
