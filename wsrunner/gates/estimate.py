"""How long a waiter may have to wait, from how long permits were held.

Pure state, shared by both backends: no clock. Each process learns from its own permits: replicas
run the same mix, and so it costs Redis nothing.
"""

from __future__ import annotations

from collections import deque

REMEMBERED = 64
"""Permits that are remembered: their mean is right to some 12 % where times vary as much as they
last, and follows a change within so many runs."""


class Estimate:
    """The mean time for which the last permits were held."""

    def __init__(self) -> None:
        self._held_s: deque[float] = deque(maxlen=REMEMBERED)
        self._sum_s = 0.0

    def note(self, held_s: float) -> None:
        """Note that a permit ended, which was held for so many seconds."""
        if len(self._held_s) == REMEMBERED:
            self._sum_s -= self._held_s[0]
        self._held_s.append(held_s)
        self._sum_s += held_s

    def eta_s(self, position: int, slots: int) -> float | None:
        """Return the seconds until a waiter's turn: as many permits end as its position says.

        Args:
            position: 1 is next.
            slots: Permits that are out at once while there are waiters.

        Returns:
            None while no permit has ended.
        """
        if not self._held_s or slots < 1:
            return None
        return position * max(self._sum_s, 0.0) / len(self._held_s) / slots
