"""A run as those see it who are attached to it: its events so far, and a seat for each.

Owns the seats. Whether the run is carried out here or elsewhere is for `kept` and `followed`: a
seat is the same.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from wsrunner.errors import KeptFullError, NotAllowedError, WsrunnerError
from wsrunner.live.journal import Cursor, Entry, Gap, Journal, Lasting, joined
from wsrunner.runs.events import Drained, Exit, Queued, Stage, Started

Role = Literal["drive", "view"]
Item = Queued | Drained | Gap | Entry | WsrunnerError
"""What a seat hears; an error is about something that it sent, and ends nothing."""

KEY_BYTES = 16
TAKE_BYTES = 64 * 1024
"""What a seat takes of the journal at once."""
JOINED_BYTES = 32 * 1024
"""What one entry may have that several are joined in."""
VIEWER_PACE_S = 0.0001
"""By how much each client that is attached puts off the next message to those who view: to tell one
of them takes about 30 µs."""
BREATH = 0.25
"""After that share of the time that it took to tell them all, at the least, they are told again."""
PACE_MAX_S = 0.05
PACE_MIN_S = 0.005
"""For fewer it is not worth a timer."""
COMPLAINTS_MAX = 100
"""Errors that wait for one client to be told them."""
WORDS_MAX = 64
"""Messages that are kept as they are sent, for the others who are to hear the same."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a kept run wherever it is.

    Attributes:
        run_id: The server's name for it; no secret.
        drive: The key of those who may type, signal, resize and cancel. A secret, as is
        view: that of those who may watch.
        keep_s: How long the run goes on while nobody drives it.
        owner: The replica that carries it out.
        once: Its request's name for it, hashed; empty without.
        tty: Whether the program has a terminal.
    """

    run_id: str
    drive: str
    view: str
    keep_s: float
    owner: str = ""
    once: str = ""
    tty: bool = False

    def role(self, key: str) -> Role | None:
        """Return what a key opens; takes as long for a wrong one as for a right one."""
        given = key.encode(errors="surrogatepass")  # a header may have any bytes
        drives = hmac.compare_digest(given, self.drive.encode())
        views = hmac.compare_digest(given, self.view.encode())
        return "drive" if drives else "view" if views else None


def new_key() -> str:
    """Return a secret of 128 random bits."""
    return secrets.token_urlsafe(KEY_BYTES)


class Seat:
    """One client's place at a run.

    Attributes:
        id: Unique, also between replicas.
        role: What it may do.
        name: Whose lane its stdin belongs to.
        taken_bytes: Bytes of that lane's stdin that the run had when this seat was taken.
        eofs: Ends of file likewise.
        holds: Whether the program waits for it.
        drained_bytes: Bytes of its stdin that the program's side has taken.
    """

    def __init__(self, show: Show, role: Role, after: int, name: str) -> None:
        self.id = secrets.token_hex(8)
        self.show = show
        self.role = role
        self.name = name or self.id
        self.taken_bytes = self.eofs = 0
        self.holds = role == "drive"
        self.drained_bytes = 0
        self._drained_told = 0
        self._queued_told: Queued | None = None
        self._cursor = Cursor(show.journal, after)
        self._complaints: list[WsrunnerError] = []
        self._failure: WsrunnerError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._interrupted = False
        self._turn = 0

    @property
    def seq(self) -> int:
        """Number of the last event that it has taken."""
        return self._cursor.seq

    @property
    def behind_bytes(self) -> int:
        """What the events that it has yet to take cost."""
        return self._cursor.behind_bytes

    async def next(self) -> list[Item]:
        """Return what comes next, at least one item; nothing once all has been told.

        Nothing, too, and at once, where it is interrupted.

        Raises:
            WsrunnerError: The run can't be read here any more.

        Cancelling is safe: nothing is lost.
        """
        while not (items := self._due()):
            if self._failure is not None:
                raise self._failure
            if self.show.journal.ended or self._interrupted:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            self.show.waiting.add(self)
            if self.behind_bytes:
                self.show.arm()
            try:
                await self._waiter
            finally:
                self.show.waiting.discard(self)
                self._waiter = None
        return items

    def _due(self) -> list[Item]:
        items: list[Item] = []
        show = self.show
        if self._complaints:
            items += self._complaints
            self._complaints.clear()
        if show.queued is not None and show.queued is not self._queued_told:
            self._queued_told = show.queued
            items.append(show.queued)
        if self.drained_bytes > self._drained_told and not show.journal.ended:
            self._drained_told = self.drained_bytes
            items.append(Drained(self.drained_bytes))
        entries = [] if self._has_had_its_turn() else self._cursor.take(TAKE_BYTES)
        if entries:
            # Who watches may be one of a thousand: fewer messages, and the same for all.
            items += entries if self.role == "drive" else joined(entries, JOINED_BYTES)
            self._turn = show.turn
            show.moved(self)
        return items

    def _has_had_its_turn(self) -> bool:
        """Whether it waits for the others' next turn, rather than go on with what little is new."""
        show = self.show
        return (
            self.role == "view"
            and show.pace_s > 0
            and self._turn == show.turn
            and self.behind_bytes < TAKE_BYTES
        )

    def wake(self) -> None:
        """Let it look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def interrupt(self) -> None:
        """Let who waits for what comes next wait no more."""
        self._interrupted = True
        self.wake()

    def complain(self, error: WsrunnerError) -> None:
        """Tell it what was wrong with something that it sent; of very much not of all."""
        if len(self._complaints) < COMPLAINTS_MAX:
            self._complaints.append(error)
        self.wake()

    def fail(self, error: WsrunnerError) -> None:
        """Let it hear nothing more."""
        self._failure = error
        self.wake()

    def leave(self) -> None:
        """Give it up. Idempotent."""
        self.show.left(self)

    # What its client may send; none of these waits.

    def stdin(self, data: bytes, at: int | None) -> None:
        """Pass bytes to the program; those that were taken already are dropped.

        Args:
            data: The bytes.
            at: Where in this driver's stdin they begin; None for behind all that came.

        Raises:
            NotAllowedError: A viewer.
            WsrunnerError: As `runs.input.Input.stdin`, and see `lanes.Lane.fresh`.
        """
        self._check_drives("type")
        self.show.stdin(self, data, at)

    def eof(self) -> None:
        """End the program's stdin; raises as `stdin`."""
        self._check_drives("end its stdin")
        self.show.eof(self)

    def signal(self, name: str) -> None:
        """Send the program a signal; raises as `stdin`."""
        self._check_drives("send it signals")
        self.show.signal(self, name)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of its terminal; raises as `stdin`."""
        self._check_drives("resize its terminal")
        self.show.resize(self, columns, rows)

    def cancel(self) -> None:
        """End the run; raises as `stdin`."""
        self._check_drives("cancel it")
        self.show.cancel(self)

    async def judged(self, patience_s: float) -> None:
        """Wait until the run has judged all that was sent from here.

        Args:
            patience_s: How long an answer from another replica is waited for.

        Raises:
            WsrunnerError: The first thing that it refused.
            GateUnavailableError: There was no answer: nobody knows what it took.

        Cancelling is safe.
        """
        await self.show.judged(self, patience_s)
        if self._complaints:
            raise self._complaints.pop(0)

    def _check_drives(self, what: str) -> None:
        if self.role != "drive":
            raise NotAllowedError(f"who views run {self.show.record.run_id} can't {what}")


class Show(ABC):
    """One run's events, and who is attached.

    Attributes:
        record: What it is.
        journal: What happened.
        queued: Where it stands in the queue; None where it does not wait, or not any more.
        stage: Where it is.
        seats: Who is attached here.
        waiting: Those of them who have heard everything.
        turn: How often those who view have been told that there is something new.
    """

    def __init__(self, record: Record, journal_bytes: int, seats_max: int) -> None:
        self.record = record
        self.journal = Journal(journal_bytes)
        self.queued: Queued | None = None
        self.stage: Stage = "queue"
        self.seats: set[Seat] = set()
        self.waiting: set[Seat] = set()
        self._seats_max = seats_max
        self.turn = 1
        self._tick: asyncio.TimerHandle | None = None
        self._next_s = 0.0
        self._words: dict[object, bytes] = {}

    def sit(self, role: Role, after: int = 0, name: str = "") -> Seat:
        """Attach somebody.

        Args:
            role: What they may do.
            after: Number of the last event that they have.
            name: Whose stdin theirs goes on with; empty for nobody's.

        Raises:
            KeptFullError: Too many are attached.
        """
        if len(self.seats) >= self._seats_max:
            raise KeptFullError(
                f"{len(self.seats)} clients are attached to run {self.record.run_id} here; the "
                f"limit is {self._seats_max} clients"
            )
        seat = Seat(self, role, after, name)
        self.seats.add(seat)
        return seat

    def add(
        self,
        seq: int,
        event: Lasting,
        *,
        before_bytes: int | None = None,
        keep_after: int | None = None,
    ) -> None:
        """Put an event into the journal, see `Journal.append`, and wake who waits for it."""
        self.journal.append(seq, event, before_bytes=before_bytes, keep_after=keep_after)
        self.queued = None
        if isinstance(event, Started | Exit):
            self.stage = event.stage
        self.wake()

    @property
    def pace_s(self) -> float:
        """How long those who view wait for a message; 0 where they are few, or at the end."""
        pace_s = min(len(self.seats) * VIEWER_PACE_S, PACE_MAX_S)
        return 0.0 if pace_s < PACE_MIN_S or self.journal.ended else pace_s

    def wake(self) -> None:
        """Let those look again who have heard everything: viewers in a moment, where many are."""
        if not self.pace_s:
            self._wake_all()
            return
        # In passing: those who drive are few, but among those who wait.
        for seat in [each for each in self.waiting if each.role == "drive"]:
            seat.wake()
        self.arm()

    def arm(self) -> None:
        """Have viewers told when it is time."""
        if self._tick is None and self.waiting:
            loop = asyncio.get_running_loop()
            self._tick = loop.call_at(max(self._next_s, loop.time()), self._wake_all)

    def _wake_all(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self.turn += 1
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        self._next_s = begun_s + self.pace_s
        for seat in list(self.waiting):
            seat.wake()
        if self.pace_s:
            loop.call_soon(self._told, begun_s)

    def _told(self, begun_s: float) -> None:
        """Hear that all have taken their turn: where that took long, the next is put off."""
        now_s = asyncio.get_running_loop().time()
        self._next_s = max(self._next_s, now_s + BREATH * (now_s - begun_s))

    def words(self, key: object, make: Callable[[], bytes]) -> bytes:
        """Return a message as it is sent, made once for all who hear it at about the same time.

        Args:
            key: What tells it from others.
            make: Makes it.
        """
        found = self._words.get(key)
        if found is None:
            if len(self._words) >= WORDS_MAX:
                self._words.clear()
            found = self._words[key] = make()
        return found

    @abstractmethod
    def moved(self, seat: Seat) -> None:
        """Hear that somebody has taken events."""

    @abstractmethod
    def left(self, seat: Seat) -> None:
        """Hear that somebody has gone."""

    @abstractmethod
    async def judged(self, seat: Seat, patience_s: float) -> None:
        """See `Seat.judged`; what was refused has been complained of then."""

    @abstractmethod
    def stdin(self, seat: Seat, data: bytes, at: int | None) -> None:
        """See `Seat.stdin`."""

    @abstractmethod
    def eof(self, seat: Seat) -> None:
        """See `Seat.eof`."""

    @abstractmethod
    def signal(self, seat: Seat, name: str) -> None:
        """See `Seat.signal`."""

    @abstractmethod
    def resize(self, seat: Seat, columns: int, rows: int) -> None:
        """See `Seat.resize`."""

    @abstractmethod
    def cancel(self, seat: Seat) -> None:
        """See `Seat.cancel`."""
