"""What is new of this process's kept runs, on its way to where other replicas read it.

Owns which runs have something to tell, and how much of each is there. Pure: no tasks, no clock.
"""

from __future__ import annotations

from wsrunner.gates.outbox import WRITE_BYTES
from wsrunner.live.kept import Kept
from wsrunner.live.letters import Publication, pack_entry, pack_queued
from wsrunner.runs.events import Queued, Refused

KIB = 1024
BATCH_BYTES = 256 * KIB
"""What is published of one run at once."""
REFUSED_LIFE_S = 30.0


class News:
    """Runs that have something to tell, and what was told already.

    Args:
        life_s: How long what is in Redis outlives the last sign of a run that goes on.
    """

    def __init__(self, life_s: float) -> None:
        self._life_s = life_s
        self._waiting: dict[Kept, None] = {}
        self._told: dict[Kept, int] = {}
        # Places in the queue that have been told, and the last one of each run.
        self._places = 0
        self._place: dict[Kept, Queued] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __contains__(self, kept: Kept) -> bool:
        return kept in self._waiting

    def add(self, kept: Kept) -> None:
        """Note that there is something new of a run."""
        self._waiting[kept] = None

    def forget(self, kept: Kept) -> None:
        """Note that nothing of a run is there, or need be."""
        self._told.pop(kept, None)
        self._place.pop(kept, None)

    def knows(self, kept: Kept) -> bool:
        """Whether anything is remembered of a run."""
        return kept in self._told or kept in self._place

    def take(self) -> dict[Kept, Publication]:
        """Return what is told at once; the rest stays for the next turn."""
        taken: dict[Kept, Publication] = {}
        size = 0
        for kept in list(self._waiting):
            if size > WRITE_BYTES:
                break
            del self._waiting[kept]
            taken[kept] = self._publication(kept)
            size += sum(len(content) for _, _, content in taken[kept].events)
        return taken

    def put_back(self, taken: dict[Kept, Publication]) -> None:
        """Have it told once more, before what came since: whether it came through nobody knows."""
        self._place.clear()
        self._waiting = dict.fromkeys(taken) | self._waiting

    def there(self, kept: Kept, seq: int) -> bool:
        """Note the last event of a run that is there; return whether that is news."""
        before = self._told.get(kept, 0)
        self._told[kept] = seq
        return seq > before

    def _publication(self, kept: Kept) -> Publication:
        journal = kept.journal
        entries = journal.after(self._told.get(kept, 0), BATCH_BYTES)
        events = [(f"{entry.seq}-0", *pack_entry(entry)) for entry in entries]
        queued = kept.queued
        if not journal.last and queued is not None and queued is not self._place.get(kept):
            self._places += 1
            self._place[kept] = queued
            events = [(f"0-{self._places}", "e", pack_queued(queued))]
        refused = any(isinstance(entry.event, Refused) for entry in entries)
        left_s = kept.left_s()
        life_s = self._life_s if left_s is None else left_s
        return Publication(
            record=kept.record,
            life_s=REFUSED_LIFE_S if refused else life_s,
            from_seq=journal.first if journal.last else 0,
            frees_once=refused,
            events=events,
        )
