"""Where this process's waiters stand, kept current from the places that others leave and take.

Pure state, shared by both backends: no clock, no I/O. Every ticket in the queue has a place, a
number, and the queue is in the order of places. A waiter's position is the number of tickets before
it, plus one. It is counted once, when the waiter enters; from then on, only what leaves, or is put
before it, matters.

The waiters are in blocks. A change is noted once, at the first local waiter behind it, and summed
up for its block, so that it costs O(log n), and entering O(n / BLOCK + BLOCK). Only `due` walks,
and it walks like the marks of a ruler: the first `NEAR` waiters every time, twice as many every
second time, four times as many every fourth. So a waiter at rank r is looked at every r/NEAR-th
time, and a walk costs O(NEAR log n) in the mean.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

NEAR = 64
"""Waiters at the front that are looked at every time."""
BLOCK = 512
"""Waiters in a block; twice as many are cut in two."""

K = TypeVar("K")


class _Mark(Generic[K]):
    """One local waiter.

    Attributes:
        key: Whose place this is.
        start: Tickets before it when it entered, plus `gone` of all marks up to it at that time.
        gone: Departures less arrivals between the local waiter before it and this one.
        told: The last position that was told.
        behind: Whether that is lower than the true one, because it was told elsewhere: until that
            is reached nothing is told.
    """

    __slots__ = ("behind", "gone", "key", "start", "told")

    def __init__(self, key: K, start: int, told: int, *, behind: bool) -> None:
        self.key = key
        self.start = start
        self.gone = 0
        self.told = told
        self.behind = behind

    def moved(self, position: int) -> bool:
        """Note its true position; return whether that should be told."""
        if position <= self.told:
            self.behind = False
        near = position <= NEAR
        fell = position < self.told and (near or position <= 0.9 * self.told)
        rose = position > self.told and not self.behind and (near or position >= 1.1 * self.told)
        if fell or rose:
            self.told = position
        return fell or rose


class _Block(Generic[K]):
    """Neighbours: their places in order, their marks, and the sum of the marks' `gone`."""

    __slots__ = ("gone", "marks", "places")

    def __init__(self, places: list[int], marks: list[_Mark[K]]) -> None:
        self.places = places
        self.marks = marks
        self.gone = sum(mark.gone for mark in marks)


class Positions(Generic[K]):
    """The local waiters in queue order."""

    def __init__(self) -> None:
        self._blocks: list[_Block[K]] = []
        self._firsts: list[int] = []  # the blocks' first places
        self._places: dict[K, int] = {}
        self._walks = 0

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, key: K, place: int, ahead: int, told: int | None = None) -> int:
        """Note a waiter and return its position.

        Args:
            key: Who waits; not in here yet.
            place: Its own place in the queue.
            ahead: Tickets in the queue before it, after all changes noted so far.
            told: The last position it was told elsewhere, if there was one.
        """
        position = ahead + 1 if told is None else min(ahead + 1, told)
        if not self._blocks:
            self._blocks.append(_Block([], []))
            self._firsts.append(place)
        number = self._block_of(place)
        block = self._blocks[number]
        at = bisect_right(block.places, place)
        gone = sum(each.gone for each in self._blocks[:number])
        if at == len(block.marks):
            gone += block.gone
        else:
            gone += sum(mark.gone for mark in block.marks[:at])
        block.places.insert(at, place)
        block.marks.insert(at, _Mark(key, ahead + gone, position, behind=position <= ahead))
        self._firsts[number] = block.places[0]
        self._places[key] = place
        if len(block.marks) > 2 * BLOCK:
            self._cut(number)
        return position

    def leave(self, key: K) -> None:
        """Forget a waiter; nothing happens if it is not here. Its departure is for `note`."""
        place = self._places.pop(key, None)
        if place is None:
            return
        number = self._block_of(place)
        block = self._blocks[number]
        at = bisect_right(block.places, place) - 1
        gone = block.marks[at].gone
        del block.places[at], block.marks[at]
        block.gone -= gone
        if not block.marks:
            del self._blocks[number], self._firsts[number]
        else:
            self._firsts[number] = block.places[0]
        self.note(place, gone)

    def note(self, place: int, change: int = 1) -> None:
        """Note that the ticket with this place, here or elsewhere, left the queue.

        Args:
            place: The ticket's.
            change: -1 if it was put into the queue instead, 0 for nothing.
        """
        if not self._blocks or not change:
            return
        number = self._block_of(place)
        at = bisect_right(self._blocks[number].places, place)
        if at == len(self._blocks[number].places):
            number, at = number + 1, 0
        if number < len(self._blocks):
            block = self._blocks[number]
            block.marks[at].gone += change
            block.gone += change

    def rank(self, place: int) -> int:
        """Return how many of the local waiters are before a place."""
        if not self._blocks:
            return 0
        number = self._block_of(place)
        before = sum(len(block.marks) for block in self._blocks[:number])
        return before + bisect_right(self._blocks[number].places, place)

    def due(self) -> Iterator[tuple[K, int]]:
        """Yield (key, position) of waiters whose position should be told now.

        Near the front that is every change; further back a change by a tenth, seen when the ruler
        comes to it.
        """
        self._walks += 1
        horizon = NEAR * (self._walks & -self._walks)
        gone = 0
        for block in self._blocks:
            for mark in block.marks:
                if horizon == 0:
                    return
                horizon -= 1
                gone += mark.gone
                position = mark.start - gone + 1
                if (position != mark.told or mark.behind) and mark.moved(position):
                    yield mark.key, position

    def _block_of(self, place: int) -> int:
        return max(bisect_right(self._firsts, place) - 1, 0)

    def _cut(self, number: int) -> None:
        block = self._blocks[number]
        front, back = (
            _Block(block.places[part], block.marks[part])
            for part in (slice(BLOCK), slice(BLOCK, None))
        )
        self._blocks[number : number + 1] = [front, back]
        self._firsts[number : number + 1] = [front.places[0], back.places[0]]
