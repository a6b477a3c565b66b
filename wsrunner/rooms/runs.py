"""The runs of a room: which there are, whose, where, and whether they are over. No tasks."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wsrunner.rooms.entries import RunThere
from wsrunner.words import rooms as words

RUNS_MAX = 16
"""Runs that a room tells of; of more, those that are over go first, then the oldest."""


class RoomRuns:
    """The runs that were started in one room, the newest last."""

    def __init__(self, runs: Iterable[RunThere] = ()) -> None:
        self._runs = {each.run.run: each for each in runs}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runs

    @property
    def there(self) -> list[RunThere]:
        """All of them."""
        return list(self._runs.values())

    @property
    def now(self) -> list[words.RoomRun]:
        """All of them, as they are told."""
        return [each.run for each in self._runs.values()]

    def is_over(self, run_id: str) -> bool:
        """Whether one of them has ended."""
        return self._runs[run_id].run.over

    def add(self, run: RunThere) -> None:
        """Take one in."""
        self._runs[run.run.run] = run
        if len(self._runs) > RUNS_MAX:
            over = (run_id for run_id, each in self._runs.items() if each.run.over)
            del self._runs[next(over, next(iter(self._runs)))]

    def over(self, run_id: str) -> None:
        """Hear that one has ended; it can be read still."""
        found = self._runs.get(run_id)
        if found is not None:
            ended = msgspec.structs.replace(found.run, over=True)
            self._runs[run_id] = RunThere(ended, found.replica)

    def forget(self, run_id: str) -> None:
        """Hear that one can't be read any more."""
        self._runs.pop(run_id, None)
