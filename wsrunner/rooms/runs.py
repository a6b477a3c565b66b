"""The runs of a room: which there are, whose, and whether they are over. No tasks."""

from __future__ import annotations

import msgspec

from wsrunner.words import rooms as words

RUNS_MAX = 16
"""Runs that a room tells of; of more, those that are over go first, then the oldest."""


class RoomRuns:
    """The runs that were started in one room, the newest last."""

    def __init__(self) -> None:
        self._runs: dict[str, words.RoomRun] = {}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runs

    @property
    def now(self) -> list[words.RoomRun]:
        """All of them."""
        return list(self._runs.values())

    def add(self, run: words.RoomRun) -> None:
        """Take one in."""
        self._runs[run.run] = run
        if len(self._runs) > RUNS_MAX:
            over = (run_id for run_id, each in self._runs.items() if each.over)
            del self._runs[next(over, next(iter(self._runs)))]

    def over(self, run_id: str) -> None:
        """Hear that one has ended; it can be read still."""
        if run_id in self._runs:
            self._runs[run_id] = msgspec.structs.replace(self._runs[run_id], over=True)

    def forget(self, run_id: str) -> None:
        """Hear that one can't be read any more."""
        self._runs.pop(run_id, None)
