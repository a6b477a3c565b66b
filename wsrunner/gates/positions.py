"""Where this process's waiters stand, kept current from the seqs that left the queue.

Pure state, shared by both backends: no clock, no I/O. Every ticket in the queue has a seq, and the
queue is in the order of seqs. A waiter's position is the number of tickets before it, plus one. It
is counted once, when the waiter enters at the end; from then on, only what leaves matters.

A departure costs O(log n), whatever the number of waiters: it is noted once, at the first local
waiter behind it. Only `due` walks, and it walks like the marks of a ruler: the first `NEAR`
waiters every time, twice as many every second time, four times as many every fourth. So a waiter
at rank r is looked at every r/NEAR-th time, and a walk costs O(NEAR log n) in the mean.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Generic, TypeVar

NEAR = 64
"""Waiters at the front that are looked at every time."""

K = TypeVar("K")


class _Mark(Generic[K]):
    """One local waiter, or what it left behind until the next `_compact`.

    Attributes:
        key: Whose place this is; None once it left.
        seq: Its seq in the queue.
        start: Tickets before it when it entered, plus all departures noted up to then.
        gone: Departures between the local waiter before it and this one.
        told: The last position that was told; positions never rise above it.
    """

    __slots__ = ("gone", "key", "seq", "start", "told")

    def __init__(self, key: K, seq: int, start: int, told: int) -> None:
        self.key: K | None = key
        self.seq = seq
        self.start = start
        self.gone = 0
        self.told = told


class Positions(Generic[K]):
    """The local waiters in queue order."""

    def __init__(self) -> None:
        self._marks: list[_Mark[K]] = []
        self._seqs: list[int] = []
        self._by_key: dict[K, _Mark[K]] = {}
        self._gone = 0  # the sum of all marks' `gone`
        self._walks = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def enter(self, key: K, seq: int, ahead: int, told: int | None = None) -> int:
        """Note a waiter at the end of the queue and return its position.

        Args:
            key: Who waits; not in here yet.
            seq: Higher than that of every waiter noted before.
            ahead: Tickets in the queue before it, after all departures noted so far.
            told: The last position it was told elsewhere, if there was one.
        """
        position = ahead + 1 if told is None else min(ahead + 1, told)
        mark = _Mark(key, seq, ahead + self._gone, position)
        self._marks.append(mark)
        self._seqs.append(seq)
        self._by_key[key] = mark
        return position

    def leave(self, key: K) -> None:
        """Forget a waiter; nothing happens if it is not here. Its own seq is noted by `note`."""
        mark = self._by_key.pop(key, None)
        if mark is not None:
            mark.key = None
            if len(self._marks) > 2 * len(self._by_key) + NEAR:
                self._compact()

    def note(self, seq: int) -> None:
        """Note that the ticket with this seq, here or elsewhere, left the queue."""
        index = bisect_left(self._seqs, seq + 1)
        if index < len(self._marks):
            self._marks[index].gone += 1
            self._gone += 1

    def due(self) -> Iterator[tuple[K, int]]:
        """Yield (key, position) of waiters whose position should be told now.

        Near the front that is every change; further back a change by a tenth, seen when the ruler
        comes to it.
        """
        self._walks += 1
        horizon = NEAR * (self._walks & -self._walks)
        gone = 0
        for mark in self._marks:
            gone += mark.gone
            if mark.key is None:
                continue
            if horizon == 0:
                return
            horizon -= 1
            position = mark.start - gone + 1
            if position < mark.told and (position <= NEAR or position <= 0.9 * mark.told):
                mark.told = position
                yield mark.key, position

    def _compact(self) -> None:
        """Drop what left; departures noted at a dropped mark count for the next one that stays."""
        kept: list[_Mark[K]] = []
        carried = 0
        for mark in self._marks:
            carried += mark.gone
            if mark.key is not None:
                mark.gone, carried = carried, 0
                kept.append(mark)
        self._gone -= carried
        self._marks = kept
        self._seqs = [mark.seq for mark in kept]
