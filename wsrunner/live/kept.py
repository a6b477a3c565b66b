"""A run of this process that goes on without its socket: it has a journal, and many may read it.

Owns who may hold the program back, and how long it goes on while nobody drives it. To its run it is
the one reader; to everybody else it is a `Show`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from wsrunner.errors import KeptFullError, NoSuchRunError
from wsrunner.live.lanes import Lanes
from wsrunner.live.show import Record, Role, Seat, Show
from wsrunner.runs.events import Drained, Event, File, Queued, Refused
from wsrunner.runs.run import Run
from wsrunner.settings import Settings

KIB = 1024
HOLD_BYTES = 256 * KIB
"""How far a driver may be behind before the program waits for it."""
HOLD_SHARE = 0.9
"""How long it waits, as a share of `slow_client_s`: by then the run's delivery is given up."""


class Driver(Protocol):
    """Somebody who drives: a `Seat` here, or one of another replica."""

    name: str
    holds: bool
    drained_bytes: int

    @property
    def seq(self) -> int:
        """Number of the last event that it has taken."""
        ...

    @property
    def behind_bytes(self) -> int:
        """What the events that it has yet to take cost."""
        ...

    def wake(self) -> None:
        """Let it look again."""
        ...


class Kept(Show):
    """One kept run of this process.

    Args:
        record: What it is.
        settings: The server's.
        on_news: Called when something has happened to it, for who follows it from elsewhere.
        on_end: Called once, when its end is in the journal.

    Attributes:
        run: The run; set when it has been started.
        lanes: Its stdin, by driver.
        followers: Called when it is over, and once more when it can't be read any more; told
            whether it can.
    """

    run: Run

    def __init__(
        self,
        record: Record,
        settings: Settings,
        *,
        on_news: Callable[[Kept], None],
        on_end: Callable[[Kept], None],
    ) -> None:
        journal_bytes = settings.journal_kb * KIB
        super().__init__(record, journal_bytes, settings.viewers_max)
        self._on_news = on_news
        self._on_end = on_end
        self.lanes = Lanes()
        self.followers: list[Callable[[bool], None]] = []
        self._drivers: set[Driver] = set()
        self._hold_bytes = min(HOLD_BYTES, journal_bytes // 2)
        self._hold_s = settings.slow_client_s * HOLD_SHARE
        self._spare_s = settings.slow_client_s - self._hold_s
        self._moved = asyncio.Event()
        self._farewell: asyncio.TimerHandle | None = None
        self._journal_s = settings.journal_s
        self._ended_s: float | None = None

    def __repr__(self) -> str:
        return f"<kept run {self.record.run_id}, {len(self.seats)} attached>"

    # What its run tells, as to any `runs.delivery.Reader`.

    async def send(self, event: Event) -> None:
        """Keep an event; waits only while a driver is far behind. Never raises."""
        match event:
            case Queued():
                self.queued = event
                self.wake()
            case Drained(taken_bytes):
                self.lanes.drained(taken_bytes)
                for driver in self._drivers:
                    driver.drained_bytes = self.lanes.lane(driver.name).drained_bytes
                    driver.wake()
            case _:
                seq = self.journal.last + 1 if isinstance(event, Refused) else event.seq
                # What the program waits for somebody to take stays for them, its last words too.
                held = [driver.seq for driver in self._drivers if driver.holds]
                self.add(seq, event, keep_after=min(held, default=None))
        self._on_news(self)
        if self.journal.ended:
            self._end()
        elif self.run.delivery.until_s is None or isinstance(event, File):
            # What is left of the output is little, but files may be many times the journal.
            await self._hold_back()

    async def drop(self) -> None:
        """See `runs.delivery.Reader.drop`; a journal takes everything."""

    def over(self) -> None:
        """See `runs.delivery.Reader.over`."""

    async def _hold_back(self) -> None:
        """Wait for drivers who are far behind, but for none for ever."""
        loop = asyncio.get_running_loop()
        seen: dict[Driver, int] = {}
        until_s = 0.0
        while slow := {driver: driver.seq for driver in self._drivers if self._is_slow(driver)}:
            if slow != seen:
                # Others who come and go give those who take nothing no longer time.
                seen, until_s = slow, self._patience_until_s(loop.time())
            self._moved.clear()
            try:
                async with asyncio.timeout_at(until_s):
                    await self._moved.wait()
            except TimeoutError:
                # From now on they are like viewers: what they don't take in time is a gap.
                for driver in slow:
                    driver.holds = False

    def _patience_until_s(self, now_s: float) -> float:
        """Return until when drivers are waited for: what comes after that must be in time, too."""
        last_s = self.run.delivery.until_s
        if last_s is None:
            return now_s + self._hold_s
        return min(now_s + self._hold_s, last_s - self._spare_s)

    def _is_slow(self, driver: Driver) -> bool:
        return driver.holds and driver.behind_bytes > self._hold_bytes

    def _end(self) -> None:
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None
        self._ended_s = asyncio.get_running_loop().time()
        self.tell_followers(readable=True)
        self._on_end(self)

    def tell_followers(self, *, readable: bool) -> None:
        """Let those know who follow how it ends."""
        for follower in self.followers:
            follower(readable)

    def left_s(self) -> float | None:
        """Return for how many seconds its journal stays; None while it goes on."""
        if self._ended_s is None:
            return None
        past_s = asyncio.get_running_loop().time() - self._ended_s
        return max(self._journal_s - past_s, 1.0)

    # Who is attached.

    def sit(self, role: Role, after: int = 0, name: str = "") -> Seat:
        """See `Show.sit`."""
        seat = super().sit(role, after, name)
        if role == "drive":
            try:
                lane = self.lanes.lane(seat.name)
            except KeptFullError:
                self.seats.discard(seat)
                raise
            seat.taken_bytes, seat.eofs = lane.taken_bytes, lane.eofs
            self.join(seat)
        return seat

    def join(self, driver: Driver) -> None:
        """Let somebody drive."""
        driver.drained_bytes = self.lanes.lane(driver.name).drained_bytes
        self._drivers.add(driver)
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None

    def part(self, driver: Driver) -> None:
        """Let somebody drive no more; the last one's going starts the run's time. Idempotent."""
        if driver not in self._drivers:
            return
        self._drivers.discard(driver)
        self._moved.set()
        if not self._drivers and not self.journal.ended:
            loop = asyncio.get_running_loop()
            self._farewell = loop.call_later(self.record.keep_s, self.run.end, "cancelled")

    def moved(self, seat: Seat) -> None:
        """See `Show.moved`."""
        if seat.role == "drive":
            self._moved.set()

    def left(self, seat: Seat) -> None:
        """See `Show.left`."""
        self.seats.discard(seat)
        self.part(seat)

    def caught_up(self) -> None:
        """Hear that a driver of another replica has taken events."""
        self._moved.set()

    # What drivers send.

    async def judged(self, seat: Seat, patience_s: float) -> None:
        """See `Show.judged`: here everything is at once."""

    def stdin(self, seat: Driver, data: bytes, at: int | None) -> None:
        """See `Seat.stdin`."""
        lane = self.lanes.lane(seat.name)
        fresh = lane.fresh(data, at)
        if fresh or not data:
            self.run.input.stdin(fresh)
            self.lanes.took(lane, len(fresh))

    def eof(self, seat: Driver) -> None:
        """See `Seat.eof`."""
        self.run.input.eof()
        self.lanes.lane(seat.name).eofs += 1

    def signal(self, seat: Driver, name: str) -> None:  # noqa: ARG002
        """See `Seat.signal`."""
        self._check_goes_on()
        self.run.input.signal(name)

    def resize(self, seat: Driver, columns: int, rows: int) -> None:  # noqa: ARG002
        """See `Seat.resize`."""
        self._check_goes_on()
        self.run.input.resize(columns, rows)

    def cancel(self, seat: Driver) -> None:  # noqa: ARG002
        """See `Seat.cancel`."""
        self._check_goes_on()
        self.run.end("cancelled")

    def _check_goes_on(self) -> None:
        if self.journal.ended:
            raise NoSuchRunError(f"run {self.record.run_id} has ended", path="$.id")
