"""When to tell that a program wants input: once, and not while input is on its way to it.

Owns what is known of that. Pure: no tasks; the time is given.
"""

from __future__ import annotations

UNDER_WAY_S = 0.025
"""How long input takes to reach a program at most, as a rule, and what the container says to be of
the time after that."""


class Asking:
    """Whether a program wants input, as its container sees it and its client was told."""

    __slots__ = ("_input_s", "_told", "_waits")

    def __init__(self) -> None:
        self._waits = self._told = False
        self._input_s = 0.0

    def saw(self, *, waiting: bool) -> None:
        """Take what the container says."""
        self._waits = waiting

    def input(self, now_s: float) -> None:
        """Hear that something has gone to the program, which wakes it: what was seen is past."""
        self._waits = self._told = False
        self._input_s = now_s

    def told(self) -> None:
        """Note that the client has been told."""
        self._told = True

    def due_s(self) -> float | None:
        """Return from when on the client is to be told, on the clock of `input`; None for not."""
        return self._input_s + UNDER_WAY_S if self._waits and not self._told else None
