"""Token buckets: how fast something may go on, and how far ahead of that it may be.

Pure: the clock is the caller's.
"""

from __future__ import annotations

FORGET_AT = 10_000
"""Keys remembered before those with full buckets are forgotten."""


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

    def owe(self, tokens: float, now: float) -> None:
        """Take so many, whether they are there or not; what is missing is owed."""
        self._fill(now)
        self._left -= tokens

    def wait_s(self, tokens: float, now: float) -> float:
        """Return after how long there will be so many tokens."""
        self._fill(now)
        return max(0.0, (tokens - self._left) / self._per_s)

    def _fill(self, now: float) -> None:
        self._left = min(self.burst, self._left + (now - self._at) * self._per_s)
        self._at = now


class Buckets:
    """A bucket for each key; of many keys those that have all they may are forgotten."""

    def __init__(self) -> None:
        self._by_key: dict[str, Bucket] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, key: str, per_s: float, burst: float, now: float) -> Bucket:
        """Return a key's bucket: a new one where there is none, or one of another size."""
        if len(self._by_key) >= FORGET_AT:
            self._by_key = {
                each: bucket
                for each, bucket in self._by_key.items()
                if bucket.wait_s(bucket.burst, now) > 0
            }
        bucket = self._by_key.get(key)
        if bucket is None or bucket.burst != burst:
            bucket = self._by_key[key] = Bucket(per_s, burst, now)
        return bucket
