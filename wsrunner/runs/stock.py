"""How many warm containers of which kind: the decision, apart from the doing.

Owns the demand figures and the one synchronous function that says what to start and what to drop.
Pure: it is told the time, does no I/O and starts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from wsrunner.engines.base import Box, Container

DEMAND_WINDOW_S = 60.0
"""Time constant of the average over recent leases: demand is forgotten at this pace."""
RISE_WINDOW_S = 3.0
"""The same for demand that rises: containers that come a minute late are of no use."""
FORGET_RATE = 1 / (20 * DEMAND_WINDOW_S)
"""Leases a second below which demand counts no more: three minutes after a single one."""
AGAIN_RATE = 1.2 / DEMAND_WINDOW_S
"""The same for a kind without a floor: one odd request must not cost a container."""
AHEAD = 10.0
"""Starts of one container that the spares should last for: arrivals come in bursts. With 2, and a
pause after each start, 4 of 10 runs at half load found none; with this 1 in 30."""
LOW = 0.75
"""Share of what is wanted below which refilling makes no pauses: a stock of three or less is low
until it is full, as the next burst would empty it."""
MAX_AGE_S = 3600.0
"""Older ones are replaced: a rebuilt kernel module, a leaked page, a stale mount end with them."""
SPARE_BYTES = 8 * 2**20
"""What one costs beside what it has started: 0.9 MB in its own cgroup and 2.6 MB in its shim were
measured, doubled."""
FIRST_START_S = 0.1


@dataclass(eq=False, slots=True)
class Spare:
    """One warm container.

    Attributes:
        container: Started, waiting for its request.
        image_id: The engine's id of the image that it was started from.
        born_s: When; seconds of the pool's clock.
    """

    container: Container
    image_id: str
    born_s: float


@dataclass(slots=True)
class _Kind:
    spares: list[Spare] = field(default_factory=list)
    average: float = 0.0
    rising: float = 0.0
    peak: float = 0.0
    counted_s: float = 0.0
    start_s: float = FIRST_START_S

    def rate(self, now_s: float) -> float:
        """Return the leases a second, averaged over the window."""
        return self.average * math.exp((self.counted_s - now_s) / DEMAND_WINDOW_S)

    def most(self, now_s: float) -> float:
        """Return the highest recent rate, which rises at once and is forgotten slowly."""
        return self.peak * math.exp((self.counted_s - now_s) / DEMAND_WINDOW_S)

    def count(self, now_s: float) -> None:
        passed_s = now_s - self.counted_s
        self.average = self.rate(now_s) + 1 / DEMAND_WINDOW_S
        self.rising = self.rising * math.exp(-passed_s / RISE_WINDOW_S) + 1 / RISE_WINDOW_S
        self.peak = max(self.most(now_s), self.rising)
        self.counted_s = now_s


class Decision(NamedTuple):
    """What the pool should do next: drop these, then start one of that kind.

    `hurry` if the stock of its kind is low: then no pause is made for the runs.
    """

    drop: list[Spare]
    start: Box | None
    hurry: bool = False


class Stock:
    """The spare containers, the demand for them, and what follows from both.

    Args:
        most: Spare containers of all kinds together, at most; 0 for no warm ones.
        memory_bytes: What they may take together.

    `floors` says how many are kept of a kind whatever the demand; set it when images change.
    """

    def __init__(self, most: int, memory_bytes: float = math.inf) -> None:
        self.floors: Mapping[Box, int] = {}
        self._most = most
        self._memory_bytes = memory_bytes
        self._kinds: dict[Box, _Kind] = {}

    def __repr__(self) -> str:
        kinds = ", ".join(
            f"{box.image}{' tty' * box.tty}{' ahead' * (box.ahead is not None)} {len(kind.spares)}"
            for box, kind in self._kinds.items()
            if kind.spares
        )
        return f"<stock {kinds or 'empty'}>"

    def sizes(self) -> dict[Box, int]:
        """Return how many there are of each kind."""
        return {box: len(kind.spares) for box, kind in self._kinds.items() if kind.spares}

    def take(self, box: Box, now_s: float) -> Spare | None:
        """Count the demand and hand out the oldest spare of that kind that is alive.

        Where there is none, one that differs only in what it has started serves as well as one with
        nothing started.
        """
        self._kinds.setdefault(box, _Kind()).count(now_s)
        for other in (box, *(each for each in self._kinds if each.bare == box.bare)):
            spares = self._kinds[other].spares
            for index, spare in enumerate(spares):
                if spare.container.alive:
                    return spares.pop(index)
        return None

    def add(self, box: Box, spare: Spare, took_s: float) -> None:
        """Take in a container that has just been started, which took so long."""
        kind = self._kinds.setdefault(box, _Kind())
        # Of each kind, as one may start in a tenth of the time that another's interpreter takes.
        kind.start_s += 0.2 * (took_s - kind.start_s)
        kind.spares.append(spare)

    def clear(self) -> list[Spare]:
        """Hand out all that is left."""
        left = [spare for kind in self._kinds.values() for spare in kind.spares]
        self._kinds.clear()
        return left

    def wanted(self, now_s: float) -> dict[Box, int]:
        """Return how many there should be of each kind, within the total.

        Floors come first. A kind that is asked for again and again gets what is leased
        while `AHEAD` start, the spread of that, and one. Where the total is too small for all, each
        kind gets its first before any gets its second, the most asked for first.
        """
        wishes: dict[Box, int] = {}
        rates = {box: kind.rate(now_s) for box, kind in self._kinds.items()}
        for box, rate in rates.items():
            if rate >= (FORGET_RATE if box in self.floors else AGAIN_RATE):
                kind = self._kinds[box]
                arriving = AHEAD * kind.start_s * kind.most(now_s)
                wishes[box] = 1 + math.ceil(arriving + math.sqrt(arriving))
        order = sorted({**self.floors, **wishes}, key=lambda box: -rates.get(box, 0.0))
        given = dict.fromkeys(order, 0)
        left, left_bytes = self._most, self._memory_bytes
        for asked in (self.floors, wishes):
            for round_ in range(max(asked.values(), default=0)):
                for box in order:
                    cost_bytes = _cost_bytes(box)
                    wanting = given[box] <= round_ < asked.get(box, 0)
                    if wanting and left and cost_bytes <= left_bytes:
                        given[box] += 1
                        left -= 1
                        left_bytes -= cost_bytes
        return given

    def decide(self, now_s: float, image_ids: Mapping[str, str]) -> Decision:
        """Say what to drop and what to start next; the one place where that is decided.

        Args:
            now_s: The pool's clock.
            image_ids: The engine's images by name: a spare of an image that has been replaced or
                removed goes, and nothing is started whose image is missing.
        """
        wanted = self.wanted(now_s)
        drop: list[Spare] = []
        for box, kind in list(self._kinds.items()):
            good = [
                spare
                for spare in kind.spares
                if spare.container.alive
                and spare.image_id == image_ids.get(box.image)
                and now_s - spare.born_s < MAX_AGE_S
            ]
            kept = good[: wanted.get(box, 0)]
            drop += [spare for spare in kind.spares if spare not in kept]
            kind.spares = kept
            if not kept and kind.rate(now_s) < FORGET_RATE:
                del self._kinds[box]
        have = self.sizes()
        missing = [
            box
            for box, count in wanted.items()
            if box.image in image_ids and have.get(box, 0) < count
        ]
        # The emptiest kind first; among equals `wanted` has the most asked for in front.
        start = min(missing, key=lambda box: have.get(box, 0), default=None)
        hurry = start is not None and have.get(start, 0) < LOW * wanted[start]
        return Decision(drop, start, hurry)


def _cost_bytes(box: Box) -> int:
    return SPARE_BYTES + (0 if box.ahead is None else box.ahead.memory_bytes)
