"""A run of another replica, as those see it who are attached to it here.

Owns this replica's copy of its journal, and the letters that its seats write to the run. The run is
read once, however many are attached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from wsrunner.errors import NoSuchRunError, TooLargeError, WsrunnerError
from wsrunner.gates.replica import unavailable
from wsrunner.live.journal import Lasting
from wsrunner.live.letters import BEHIND_ALL, Letter, error_of, unpack_event
from wsrunner.live.show import Record, Seat, Show
from wsrunner.runs.events import Exit, Queued
from wsrunner.runs.input import DRAINED_EVERY_BYTES, STDIN_MAX_BYTES

ACK_BYTES = 32 * 1024
"""What a driver takes until its run hears of it."""
NONE_YET = "0-0"
UNREAD_MAX_BYTES = STDIN_MAX_BYTES + DRAINED_EVERY_BYTES
"""Stdin of one driver on its way, of which the run has not said that it is taken: its own limit
comes too late for one who sends faster than Redis forgets. It may owe word of the last of it."""


class Followed(Show):
    """One kept run of another replica.

    Args:
        record: What it is.
        journal_bytes: What this copy of its journal may cost.
        seats_max: Clients that may be attached here.
        replica: This one.
        write: Sends a letter to the run's; never waits.
        on_empty: Called when nobody is attached any more.

    Attributes:
        position: Id of the last event that has come.
    """

    def __init__(
        self,
        record: Record,
        journal_bytes: int,
        seats_max: int,
        *,
        replica: str,
        write: Callable[[Letter], None],
        on_empty: Callable[[Followed], None],
    ) -> None:
        super().__init__(record, journal_bytes, seats_max)
        self.position = NONE_YET
        self._replica = replica
        self._write = write
        self._on_empty = on_empty
        # Seats that wait: to drive, and to hear that all they sent has been judged.
        self._joining: dict[str, asyncio.Future[None]] = {}
        self._judging: dict[str, asyncio.Future[None]] = {}
        # What the run knows of each driver: how far it has come.
        self._told_behind: dict[str, int] = {}
        # How much stdin each has sent that was not refused, and how many letters that do something.
        self._sent_bytes: dict[str, int] = {}
        self._turns: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<followed run {self.record.run_id}, {len(self.seats)} attached>"

    # What comes from the run's replica.

    def take(self, id_: str, content: bytes) -> None:
        """Take one event of the run, whose ids rise."""
        self.position = id_
        told = unpack_event(content)
        event = told.event
        if isinstance(event, Queued):
            self.queued = event
            self.wake()
            return
        before = self.journal.output_bytes if told.before_bytes is None else told.before_bytes
        if isinstance(event, Exit) and event.reason == "replica_lost":
            event = event._replace(stage=self.stage, output_bytes=before)
        held = [seat.seq for seat in self.seats if seat.holds]
        self.add(
            int(id_.partition("-")[0]),
            event,
            before_bytes=before,
            keep_after=min(held, default=None),
        )

    def hear(self, letter: Letter) -> None:
        """Take a letter to one of the seats."""
        seat = next((each for each in self.seats if each.id == letter.seat), None)
        if seat is None:
            return
        match letter.kind:
            case "joined":
                seat.taken_bytes, seat.eofs = letter.number, letter.second
                self._sent_bytes[seat.id] = letter.number
                _settle(self._joining, seat)
            case "judged":
                _settle(self._judging, seat)
            case "drained":
                seat.drained_bytes = letter.number
                seat.wake()
            case "error":
                error = error_of(letter.text, letter.more, letter.path)
                if not _settle(self._joining, seat, error):
                    self._sent_bytes[seat.id] = self._sent_bytes.get(seat.id, 0) - letter.number
                    seat.complain(error)
            case "gone":
                self._lose(seat, unavailable("the run's server does not know this client any more"))

    def fail(self, error: WsrunnerError) -> None:
        """Let nobody hear anything more of it here."""
        for seat in list(self.seats):
            self._lose(seat, error)

    # Who is attached here.

    async def join(self, seat: Seat, patience_s: float) -> None:
        """Let a seat drive: wait until its run knows it, or has ended.

        Raises:
            GateUnavailableError: There was no answer.
            KeptFullError: Too many drivers have come to it.
        """
        if self.journal.ended:
            return
        self._told_behind[seat.id] = 0
        letter = self._letter(seat, "join", number=seat.seq, text=seat.name)
        await self._ask(self._joining, seat, letter, patience_s)

    async def judged(self, seat: Seat, patience_s: float) -> None:
        """See `Show.judged`.

        Raises:
            GateUnavailableError: There was no answer.
            NoSuchRunError: The run has ended, and nobody knows whether it was before.
        """
        if self.journal.ended:
            raise self._over()
        turn = self._turns[seat.id] = self._turns.get(seat.id, 0) + 1
        await self._ask(self._judging, seat, self._letter(seat, "judge", turn=turn), patience_s)

    async def _ask(
        self,
        waiting: dict[str, asyncio.Future[None]],
        seat: Seat,
        letter: Letter,
        patience_s: float,
    ) -> None:
        """Write a letter that has an answer, and wait for that."""
        answer = waiting[seat.id] = asyncio.get_running_loop().create_future()
        self._write(letter)
        try:
            async with asyncio.timeout(patience_s):
                await answer
        except TimeoutError as exc:
            raise unavailable("the run's server does not answer") from exc
        finally:
            waiting.pop(seat.id, None)

    def report(self) -> None:
        """Tell the run how far its drivers here have come, and that they are there."""
        for seat in self.seats:
            if seat.role == "drive" and not self.journal.ended:
                self._say_here(seat)

    def add(  # noqa: D102 - see `Show.add`
        self,
        seq: int,
        event: Lasting,
        *,
        before_bytes: int | None = None,
        keep_after: int | None = None,
    ) -> None:
        super().add(seq, event, before_bytes=before_bytes, keep_after=keep_after)
        if self.journal.ended:
            for seat in self.seats:
                _settle(self._joining, seat)
                _settle(self._judging, seat, self._over())

    def moved(self, seat: Seat) -> None:
        """See `Show.moved`."""
        if seat.role != "drive":
            return
        taken = self.journal.cost - seat.behind_bytes
        if taken - self._told_behind.get(seat.id, 0) >= ACK_BYTES:
            self._told_behind[seat.id] = taken
            self._say_here(seat)

    def left(self, seat: Seat) -> None:
        """See `Show.left`."""
        if seat not in self.seats:
            return
        self.seats.discard(seat)
        self._told_behind.pop(seat.id, None)
        self._sent_bytes.pop(seat.id, None)
        self._turns.pop(seat.id, None)
        if seat.role == "drive" and not self.journal.ended:
            self._write(self._letter(seat, "leave"))
        if not self.seats:
            self._on_empty(self)

    # What drivers send: the run judges it, and answers what it refuses.

    def stdin(self, seat: Seat, data: bytes, at: int | None) -> None:
        """See `Seat.stdin`.

        Raises:
            TooLargeError: The run is not known to have taken what came before.
        """
        sent = self._sent_bytes.get(seat.id, 0)
        taken = max(seat.drained_bytes, seat.taken_bytes)
        if at is not None and at < taken:
            data, at = data[taken - at :], taken
        begin = sent if at is None else at
        unread = begin + len(data) - taken
        if unread > UNREAD_MAX_BYTES:
            raise TooLargeError(
                f"{unread} bytes of stdin that the program is not known to have read; the limit is "
                f"{UNREAD_MAX_BYTES} bytes",
                path="$.data",
            )
        # In one letter, so that the run takes all of it or nothing.
        self._post(seat, "stdin", number=BEHIND_ALL if at is None else at, data=data)
        self._sent_bytes[seat.id] = max(sent, begin + len(data))

    def eof(self, seat: Seat) -> None:
        """See `Seat.eof`."""
        self._post(seat, "eof")

    def signal(self, seat: Seat, name: str) -> None:
        """See `Seat.signal`."""
        self._post(seat, "signal", text=name)

    def resize(self, seat: Seat, columns: int, rows: int) -> None:
        """See `Seat.resize`."""
        self._post(seat, "resize", number=columns, second=rows)

    def cancel(self, seat: Seat) -> None:
        """See `Seat.cancel`."""
        self._post(seat, "cancel")

    def _post(
        self,
        seat: Seat,
        kind: str,
        *,
        number: int = 0,
        second: int = 0,
        text: str = "",
        data: bytes = b"",
    ) -> None:
        """Write a letter that does something."""
        turn = self._turns.get(seat.id, 0) + 1
        self._write(
            self._letter(seat, kind, number=number, second=second, text=text, data=data, turn=turn)
        )
        # Not where it was refused here: none is missing then.
        self._turns[seat.id] = turn

    def _say_here(self, seat: Seat) -> None:
        turns = self._turns.get(seat.id, 0)
        self._write(self._letter(seat, "here", number=seat.seq, turn=turns))

    def _letter(self, seat: Seat, kind: str, **fields: Any) -> Letter:
        return Letter(kind, self.record.run_id, seat.id, more=self._replica, **fields)

    def _over(self) -> WsrunnerError:
        return NoSuchRunError(f"run {self.record.run_id} has ended", path="$.id")

    def _lose(self, seat: Seat, error: WsrunnerError) -> None:
        _settle(self._joining, seat, error)
        _settle(self._judging, seat, error)
        seat.fail(error)


def _settle(
    waiting: dict[str, asyncio.Future[None]], seat: Seat, error: WsrunnerError | None = None
) -> bool:
    """Answer a seat that waits; return whether it did."""
    answer = waiting.get(seat.id)
    if answer is None or answer.done():
        return False
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)
    return True
