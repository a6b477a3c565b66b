"""Drivers of this process's runs whose sockets are on other replicas.

Owns them, and what their letters do to their runs. Who does not write for a while is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wsrunner.errors import WsrunnerError
from wsrunner.live.journal import Cursor
from wsrunner.live.kept import Kept
from wsrunner.live.letters import BEHIND_ALL, Letter, error_letter

SILENCE_S = 6.0
"""How long a visitor need not write; its replica does each second."""

Write = Callable[[str, Letter], None]
"""Sends a letter to a replica; never waits."""


class Visitor:
    """One driver of another replica; see `kept.Driver`."""

    def __init__(self, kept: Kept, letter: Letter, write: Write) -> None:
        self.id = letter.seat
        self.name = letter.text
        self.replica = letter.more
        self.kept = kept
        self.holds = True
        self.drained_bytes = 0
        self.silence: asyncio.TimerHandle | None = None
        self.turn = 0  # of its letters that did something, the last one
        self._told_bytes = 0
        self._write = write
        self._cursor = Cursor(kept.journal, letter.number)

    @property
    def seq(self) -> int:
        """Number of the last event that it has taken."""
        return self._cursor.seq

    @property
    def behind_bytes(self) -> int:
        """What the events that it has yet to take cost."""
        return self._cursor.behind_bytes

    def wake(self) -> None:
        """Tell it what the program's side has taken of its stdin."""
        if self.drained_bytes > self._told_bytes:
            self._told_bytes = self.drained_bytes
            self.answer(Letter("drained", self._run_id, self.id, number=self.drained_bytes))

    def came_to(self, seq: int) -> None:
        """Hear how far it has come."""
        while self._cursor.seq < seq and self._cursor.take(1):
            pass
        self.kept.caught_up()

    def answer(self, letter: Letter) -> None:
        """Write to it."""
        self._write(self.replica, letter)

    @property
    def _run_id(self) -> str:
        return self.kept.record.run_id


class Visitors:
    """All of them.

    Args:
        find: Returns the kept run of an id, if it is of this process.
        write: Sends letters.
    """

    def __init__(self, find: Callable[[str], Kept | None], write: Write) -> None:
        self._find = find
        self._write = write
        self._visitors: dict[str, Visitor] = {}

    def take(self, letter: Letter) -> None:
        """Do what a letter to a run says."""
        if letter.kind == "join":
            self._join(letter)
            return
        visitor = self._visitors.get(letter.seat)
        if visitor is None:
            # It was silent for too long, or its first letter got lost: it has to come anew.
            if letter.kind != "leave":
                self._write(letter.more, Letter("gone", letter.run, letter.seat))
            return
        if letter.kind == "leave":
            self._part(visitor)
            return
        self._heard(visitor)
        acts = letter.kind != "here"
        if acts and letter.turn <= visitor.turn:
            return  # sent again, as its replica had no reply from Redis
        if letter.turn > visitor.turn + acts:
            # Letters were lost with Redis. Who comes anew hears how much of its stdin has come.
            self._silent(visitor)
            return
        visitor.turn = max(visitor.turn, letter.turn)
        try:
            _carry_out(letter, visitor)
        except WsrunnerError as exc:
            visitor.answer(error_letter(letter, exc))

    def _join(self, letter: Letter) -> None:
        kept = self._find(letter.run)
        if kept is None:
            self._write(letter.more, Letter("gone", letter.run, letter.seat))
            return
        visitor = self._visitors.get(letter.seat)
        if visitor is None:
            visitor = Visitor(kept, letter, self._write)
            try:
                kept.join(visitor)
            except WsrunnerError as exc:
                visitor.answer(error_letter(letter, exc))
                visitor.answer(Letter("gone", letter.run, letter.seat))
                return
            self._visitors[letter.seat] = visitor
        self._heard(visitor)
        lane = kept.lanes.lane(visitor.name)
        visitor.answer(
            Letter("joined", letter.run, letter.seat, number=lane.taken_bytes, second=lane.eofs)
        )
        visitor.wake()

    def _heard(self, visitor: Visitor) -> None:
        if visitor.silence is not None:
            visitor.silence.cancel()
        loop = asyncio.get_running_loop()
        visitor.silence = loop.call_later(SILENCE_S, self._silent, visitor)

    def _silent(self, visitor: Visitor) -> None:
        """Give one up; it may come anew."""
        visitor.answer(Letter("gone", visitor.kept.record.run_id, visitor.id))
        self._part(visitor)

    def _part(self, visitor: Visitor) -> None:
        if visitor.silence is not None:
            visitor.silence.cancel()
        self._visitors.pop(visitor.id, None)
        visitor.kept.part(visitor)


def _carry_out(letter: Letter, visitor: Visitor) -> None:
    kept = visitor.kept
    match letter.kind:
        case "here":
            visitor.came_to(letter.number)
        case "stdin":
            at = None if letter.number == BEHIND_ALL else letter.number
            kept.stdin(visitor, letter.data, at)
        case "eof":
            kept.eof(visitor)
        case "signal":
            kept.signal(visitor, letter.text)
        case "resize":
            kept.resize(visitor, letter.number, letter.second)
        case "cancel":
            kept.cancel(visitor)
        case "judge":
            visitor.answer(Letter("judged", letter.run, letter.seat))
