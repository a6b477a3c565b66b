"""The last events of a run, bounded in bytes, and cursors into them.

Owns which events are still there, and what a reader missed. Pure: no tasks, no clock.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from wsrunner.runs.events import Exit, File, LeftOut, Output, Refused, Started, Waiting

ENTRY_COST_BYTES = 256
"""What an entry takes beside its output, so that a million empty ones count too."""

Lasting = Started | Output | Waiting | File | LeftOut | Exit | Refused
"""Events that a journal keeps; of the others only the newest is of use."""


class Entry(NamedTuple):
    """One event of the journal.

    Attributes:
        seq: Its number.
        event: What happened.
        before_bytes: Output bytes of the run before it.
        until_cost: What all entries up to it cost, those that are gone included.
    """

    seq: int
    event: Lasting
    before_bytes: int
    until_cost: int

    @property
    def output_bytes(self) -> int:
        """Output bytes in it."""
        return len(self.event.data) if isinstance(self.event, Output) else 0


def joined(items: list[Gap | Entry], max_bytes: int) -> list[Gap | Entry]:
    """Return the same with output of one stream that follows on itself in one entry.

    Args:
        items: In order.
        max_bytes: What one entry may have then.
    """
    result: list[Gap | Entry] = []
    parts: list[bytes] = []
    for item in items:
        last = result[-1] if result else None
        if (
            isinstance(last, Entry)
            and isinstance(item, Entry)
            and isinstance(last.event, Output)
            and isinstance(item.event, Output)
            and last.event.stream == item.event.stream
            and sum(map(len, parts)) + len(item.event.data) <= max_bytes
        ):
            parts.append(item.event.data)
            event = Output(item.seq, item.event.stream, b"".join(parts))
            result[-1] = item._replace(event=event, before_bytes=last.before_bytes)
        else:
            result.append(item)
            event_ = item.event if isinstance(item, Entry) else None
            parts = [event_.data] if isinstance(event_, Output) else []
    return result


class Gap(NamedTuple):
    """What a reader can't have any more.

    Attributes:
        next: Number of the event that comes next.
        before_bytes: Output bytes of the run before that.
        missed_bytes: How many of those the reader did not get; None where nobody knows any more.
    """

    next: int
    before_bytes: int
    missed_bytes: int | None


class Journal:
    """Keeps the last events of one run.

    Args:
        max_bytes: What they may cost; the last one always stays.

    Attributes:
        last: Number of the last event; 0 before the first.
        output_bytes: Output bytes of the run so far.
        cost: What all events cost so far, those that are gone included.
        ended: Whether the run's end is in it.
    """

    __slots__ = ("_entries", "_max_bytes", "_start", "cost", "ended", "last", "output_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: list[Entry] = []
        self._start = 0  # entries before it are gone; cut off now and then
        self.last = 0
        self.output_bytes = 0
        self.cost = 0
        self.ended = False

    @property
    def first(self) -> int:
        """Number of the first event that is still there; the next one's if there is none."""
        there = self._start < len(self._entries)
        return self._entries[self._start].seq if there else self.last + 1

    @property
    def held_bytes(self) -> int:
        """What the events that are still there cost."""
        if self._start == len(self._entries):
            return 0
        return self.cost - self._entries[self._start].until_cost + self._cost(self._start)

    def append(
        self,
        seq: int,
        event: Lasting,
        *,
        before_bytes: int | None = None,
        keep_after: int | None = None,
    ) -> None:
        """Keep an event, and give up the oldest where there is too much.

        Args:
            seq: Its number, higher than all before.
            event: What happened.
            before_bytes: Output bytes before it; None if this journal has had all of them.
            keep_after: None after this number is given up, however much it is.
        """
        assert seq > self.last, f"event {seq} after {self.last}"
        before = self.output_bytes if before_bytes is None else before_bytes
        size = len(event.data) if isinstance(event, Output) else 0
        self.cost += _cost(event)
        self._entries.append(Entry(seq, event, before, self.cost))
        self.last = seq
        self.output_bytes = before + size
        self.ended = isinstance(event, Exit | Refused)
        over = self.held_bytes - self._max_bytes
        keep_after = seq if keep_after is None else keep_after
        while (
            over > 0
            and self._start < len(self._entries) - 1
            and self._entries[self._start].seq <= keep_after
        ):
            over -= self._cost(self._start)
            self._start += 1
        if self._start > len(self._entries) // 2:
            del self._entries[: self._start]
            self._start = 0

    def after(self, seq: int, max_bytes: int) -> list[Entry]:
        """Return the events after this number, the first of them and more up to so many bytes."""
        begin = max(bisect_right(self._entries, seq, key=lambda entry: entry.seq), self._start)
        taken: list[Entry] = []
        for at in range(begin, len(self._entries)):
            if taken and max_bytes <= 0:
                break
            taken.append(self._entries[at])
            max_bytes -= self._cost(at)
        return taken

    def _cost(self, at: int) -> int:
        return _cost(self._entries[at].event)


def _cost(event: Lasting) -> int:
    return ENTRY_COST_BYTES + (len(event.data) if isinstance(event, Output | File) else 0)


class Cursor:
    """How far one reader has come in a journal.

    Args:
        journal: What it reads.
        after: Number of the last event that it has.

    Attributes:
        seq: Number of the last event taken.
        cost: What the events up to that one cost.
    """

    __slots__ = ("_journal", "_seen_bytes", "cost", "seq")

    def __init__(self, journal: Journal, after: int) -> None:
        self._journal = journal
        self.seq = after
        self.cost = 0 if after < journal.first - 1 else journal.cost
        self._seen_bytes = 0 if after == 0 else None

    @property
    def behind_bytes(self) -> int:
        """What the events that it has yet to take cost."""
        return self._journal.cost - self.cost

    def take(self, max_bytes: int) -> list[Gap | Entry]:
        """Return what comes next: a gap where something is gone, then events."""
        entries = self._journal.after(self.seq, max_bytes)
        items: list[Gap | Entry] = []
        for entry in entries:
            if entry.seq != self.seq + 1:
                seen = self._seen_bytes
                missed = None if seen is None else entry.before_bytes - seen
                items.append(Gap(entry.seq, entry.before_bytes, missed))
            items.append(entry)
            self.seq, self.cost = entry.seq, entry.until_cost
            self._seen_bytes = entry.before_bytes + entry.output_bytes
        return items
