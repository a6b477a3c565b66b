"""Kept runs between replicas: this process's are published, those of others followed.

Owns the tasks and what waits to be sent. `store` has the commands, `news` what there is to tell of
runs, `visitors` the drivers from elsewhere, `followed` the runs of elsewhere.

::

    Exchange
    ├── _send     letters and events out, together, one batch after the other
    ├── _read     letters to this replica, and events of the runs that it follows
    └── _beat     shows that this replica lives; sees who does not any more

While Redis is away runs go on; what they print meanwhile is published afterwards, as far as their
journals still have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from wsrunner.errors import GateUnavailableError, KeptFullError
from wsrunner.gates.asked import AGAIN_S, for_ever
from wsrunner.gates.outbox import Outbox
from wsrunner.gates.replica import unavailable
from wsrunner.live.followed import NONE_YET, Followed
from wsrunner.live.journal import Entry
from wsrunner.live.kept import Kept
from wsrunner.live.letters import Letter, pack_letter, pack_lost, unpack_letter
from wsrunner.live.news import News
from wsrunner.live.show import Record
from wsrunner.live.visitors import Visitors
from wsrunner.runs.events import Refused
from wsrunner.settings import Settings

if TYPE_CHECKING:
    from wsrunner.live.store import Store

log = logging.getLogger(__name__)

KIB = 1024
BEAT_S = 1.0
GRACE_BEATS = 2
"""Beats in a row that a replica must not be seen before its runs are given up."""
DISOWNED_MAX = 1000
"""Runs that were begun in vain and are still to be undone; no further ones are begun beyond."""
FLUSH_S = 2.0
_OF_SEATS = frozenset({"join", "here", "leave"})
"""Letters that no client can send more of than it has seats."""


class Exchange:
    """This replica's part in what all replicas keep.

    Args:
        store: Redis.
        settings: The server's.
        find: Returns a kept run of this process by its id.
        mine: Returns all of them.
        starting: Returns whether this server still waits for its engine and gate.

    Attributes:
        replica: This one's name.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        find: Callable[[str], Kept | None],
        mine: Callable[[], Iterable[Kept]],
        starting: Callable[[], bool] = lambda: False,
    ) -> None:
        self.replica = secrets.token_hex(8)
        self._store = store
        self._settings = settings
        self._find = find
        self._mine = mine
        self._starting = starting
        self._visitors = Visitors(find, self._write)
        self._followed: dict[str, Followed] = {}
        self._finding = asyncio.Lock()
        self._outbox = Outbox()
        self._news = News(self._life_s)
        self._disowned: dict[Record, None] = {}
        self._filled = asyncio.Event()
        self._sent = asyncio.Event()
        self._sending = False
        self._letters_after = NONE_YET
        self._missed: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        parts = (self._send, self._read, self._beat)
        self._tasks = [
            asyncio.create_task(
                for_ever(
                    part,
                    "kept runs",
                    # Who was not seen may have been there.
                    on_away=self._missed.clear,
                    is_starting=self._starting,
                ),
                name=f"live {part.__name__}",
            )
            for part in parts
        ]
        return self

    async def __aexit__(self, *exc: object) -> None:
        with contextlib.suppress(TimeoutError, GateUnavailableError):
            async with asyncio.timeout(FLUSH_S):
                while self._outbox or self._news or self._sending:
                    self._sent.clear()
                    await self._sent.wait()
                await self._store.part(self.replica)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store.close()

    # For the house.

    async def claim(self, record: Record) -> str:
        """Begin a run; return '' or the id of the run that its request began before.

        Raises:
            GateUnavailableError: Redis does not answer. If it began the run, that is undone.
        """
        if len(self._disowned) >= DISOWNED_MAX:
            raise unavailable("Redis is away, and what was begun in vain waits to be undone")
        try:
            if record.once:
                # Else the same request, asked again, would find the run that was never begun.
                await self._disown(each for each in self._disowned if each.once == record.once)
            return await self._store.claim(record, self._life_s)
        except GateUnavailableError:
            self._disowned[record] = None
            self._filled.set()
            raise

    async def _disown(self, records: Iterable[Record]) -> None:
        """Undo what was begun in vain; may be done twice."""
        for record in list(records):
            await self._store.disown(record)
            self._disowned.pop(record, None)

    async def record(self, run_id: str) -> Record | None:
        """Return what is known of a run of another replica.

        Raises:
            GateUnavailableError: Redis does not answer.
        """
        followed = self._followed.get(run_id)
        record = followed.record if followed else await self._store.find(run_id)
        return None if record is None or record.owner == self.replica else record

    async def show(self, record: Record) -> Followed:
        """Return a run of another replica, with all of it that is there.

        Raises:
            GateUnavailableError: Redis does not answer.
            KeptFullError: Too many are followed here.

        Cancelling is safe.
        """
        async with self._finding:
            run_id = record.run_id
            followed = self._followed.get(run_id)
            if followed is not None:
                return followed
            self._check_room()
            followed = Followed(
                record,
                self._settings.journal_kb * KIB,
                self._settings.viewers_max,
                replica=self.replica,
                write=lambda letter: self._write_bounded(record.owner, letter),
                on_empty=self.unfollow,
            )
            for id_, content in await self._store.events(run_id):
                followed.take(id_, content)
            if not followed.journal.ended:
                self._followed[run_id] = followed
                # The read that goes on does not have it among its streams.
                self._write(self.replica, Letter("wake"))
            return followed

    def _check_room(self) -> None:
        if len(self._followed) >= self._settings.kept_max:
            raise KeptFullError(
                f"{len(self._followed)} runs of other servers are followed here; the limit is "
                f"{self._settings.kept_max} runs"
            )

    def publish(self, kept: Kept) -> None:
        """Hear that there is something new of a run."""
        self._news.add(kept)
        self._filled.set()

    def forget(self, kept: Kept) -> None:
        """Hear that a run is not kept here any more."""
        self._news.forget(kept)

    def disown(self, record: Record) -> None:
        """Let no other replica find a run any more."""
        self._disowned[record] = None
        self._filled.set()

    def unfollow(self, followed: Followed) -> None:
        """Follow a run no more."""
        self._followed.pop(followed.record.run_id, None)

    @property
    def _life_s(self) -> float:
        """How long what is in Redis outlives the last sign of its replica."""
        return self._settings.journal_s + self._settings.lease_s

    @property
    def _letters_life_s(self) -> float:
        """How long letters outlive the last one that was written, or the last sign of a replica."""
        return 4 * self._settings.lease_s

    # Out.

    def _write(self, replica: str, letter: Letter) -> None:
        self._outbox.add(replica, pack_letter(letter))
        self._filled.set()

    def _write_bounded(self, replica: str, letter: Letter) -> None:
        if letter.kind not in _OF_SEATS:
            self._outbox.check_place()
        self._write(replica, letter)

    async def _send(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            letters = self._outbox.first()
            # Not before all letters: an answer to something is there no later than its run's end.
            news = self._news.take() if len(letters) == len(self._outbox) else {}
            self._sending = True
            try:
                await self._disown(self._disowned)
                answers = await self._store.write(
                    list(news.values()), letters, self._letters_life_s
                )
            except BaseException:
                # Once more, in the same order: which of it came through nobody knows.
                self._news.put_back(news)
                self._filled.set()
                raise
            finally:
                self._sending = False
            self._outbox.sent(letters)
            for kept, answer in zip(news, answers, strict=True):
                self._answered(kept, answer)
            if self._news or self._outbox:
                self._filled.set()
            self._sent.set()

    def _answered(self, kept: Kept, answer: str) -> None:
        """Note how much of a run is there, and what has become of it elsewhere."""
        if answer == "lost":
            log.warning("run %s was given up by others: ending it", kept.record.run_id)
            kept.run.end("lease_lost")
        elif answer == "absent":
            self.forget(kept)
            if self._is_here(kept):
                self._tasks.append(asyncio.create_task(self._restore(kept)))
        else:
            there = int(answer.partition("-")[0])
            is_news = self._news.there(kept, there)
            if there < kept.journal.last and is_news:
                self.publish(kept)
            elif there < kept.journal.last:
                # Redis takes nothing of it, being full maybe: not again at once.
                asyncio.get_running_loop().call_later(AGAIN_S, self.publish, kept)
        if not self._is_here(kept) and kept not in self._news:
            # A refused one is forgotten before it is published.
            self.forget(kept)

    def _is_here(self, kept: Kept) -> bool:
        return self._find(kept.record.run_id) is kept

    async def _restore(self, kept: Kept) -> None:
        """Put a run into a Redis that has lost it."""
        with contextlib.suppress(GateUnavailableError):
            if not isinstance(_end_of(kept), Refused):
                if await self._store.claim(kept.record, self._life_s):
                    # Its request has begun another one meanwhile, elsewhere: this one's keys do.
                    await self._store.claim(replace(kept.record, once=""), self._life_s)
                self.publish(kept)
        task = asyncio.current_task()
        if task in self._tasks:
            self._tasks.remove(task)

    # In.

    async def _read(self) -> None:
        while True:
            after = {run_id: each.position for run_id, each in self._followed.items()}
            letters, events = await self._store.read(self.replica, self._letters_after, after)
            # First: an answer to something is there no later than the end of its run.
            for id_, content in letters:
                self._letters_after = id_
                self._hear(unpack_letter(content))
            for run_id, items in events.items():
                followed = self._followed.get(run_id)
                # It may be another than at the beginning of this read, and have more.
                if followed is not None and followed.position == after[run_id]:
                    for id_, content in items:
                        followed.take(id_, content)
                    if followed.journal.ended:
                        self.unfollow(followed)

    def _hear(self, letter: Letter) -> None:
        if letter.kind in {"joined", "drained", "error", "judged", "gone"}:
            followed = self._followed.get(letter.run)
            if followed is not None:
                followed.hear(letter)
        elif letter.kind != "wake":
            self._visitors.take(letter)

    # Time.

    async def _beat(self) -> None:
        while True:
            was_seen = await self._store.beat(
                self.replica, self._settings.lease_s, self._letters_after, self._letters_life_s
            )
            for kept in self._mine():
                # Redis may have lost its data: then those that have ended are put there again, too.
                if not (kept.journal.ended and was_seen):
                    self.publish(kept)
            for followed in list(self._followed.values()):
                followed.report()
            await self._look()
            await asyncio.sleep(min(BEAT_S, self._settings.lease_s / 4))

    async def _look(self) -> None:
        """End the runs whose replicas are gone, or that Redis has lost and nobody brings back."""
        followed = dict(self._followed)
        owners = {each.record.owner for each in followed.values()}
        if not followed:
            self._missed.clear()
            return
        live, there = await self._store.look(owners, followed)
        missing = (owners - live) | (set(followed) - there)
        counts = {name: self._missed.get(name, 0) + 1 for name in missing}
        self._missed.clear()
        self._missed.update(counts)
        gone = {name for name, beats in self._missed.items() if beats > GRACE_BEATS}
        for run_id, each in followed.items():
            if each.record.owner in gone and run_id in there:
                await self._store.lose(run_id, pack_lost())
            elif each.record.owner in gone or self._missed.get(run_id, 0) > 2 * GRACE_BEATS:
                # Nobody has it any more.
                each.take(f"{each.journal.last + 1}-0", pack_lost())
                self.unfollow(each)


def _end_of(kept: Kept) -> object:
    entries: list[Entry] = kept.journal.after(kept.journal.last - 1, 1)
    return entries[-1].event if entries else None
