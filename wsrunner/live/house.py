"""All runs that this process keeps: begins them, finds them, forgets them, and bounds them.

Owns how many there are, what their journals hold, and how long they stay. One a server.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging

from wsrunner.errors import KeptFullError, LimitOutOfRangeError, NoSuchRunError, WsrunnerError
from wsrunner.live.kept import Kept
from wsrunner.live.show import Record, Seat, new_key
from wsrunner.runs.events import Refused
from wsrunner.runs.job import Job, Principal
from wsrunner.runs.registry import Registry
from wsrunner.runs.run import new_run_id

log = logging.getLogger(__name__)

KIB, MIB = 1024, 2**20


class House:
    """The kept runs of one process.

    Args:
        registry: Starts runs.

    Attributes:
        kept: Run id → run, from its request until its journal is forgotten.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._settings = registry.host.settings
        self.kept: dict[str, Kept] = {}
        self._onces: dict[str, str] = {}
        self._ended_bytes = 0
        self._live = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def journal_bytes(self) -> int:
        """What the journals of all kept runs hold, or may yet hold."""
        return self._ended_bytes + self._live * self._settings.journal_kb * KIB

    @property
    def attached(self) -> int:
        """How many clients are attached, over all kept runs."""
        return sum(len(kept.seats) for kept in self.kept.values())

    async def begin(
        self, job: Job, principal: Principal, *, keep_s: float, once: str | None
    ) -> Seat:
        """Start a run that is kept; or attach to the one that this request has already started.

        Args:
            job: What to run.
            principal: Whose it is.
            keep_s: How long it goes on while nobody drives it.
            once: The client's own name for this request, which nobody else knows.

        Returns:
            A driver's seat at it.

        Raises:
            LimitOutOfRangeError: `keep_s` is more than the server allows.
            KeptFullError: No more can be kept.
            NoSuchRunError: What this `once` started is over and forgotten.

        Cancelling is safe: a run that has been started is kept as if its driver had gone.
        """
        self._check_keep(keep_s)
        hashed = _hashed(principal.tenant, once) if once else ""
        if hashed in self._onces:
            return self.kept[self._onces[hashed]].sit("drive", name=once or "")
        self._check_room()
        record = Record(
            run_id=new_run_id(), drive=new_key(), view=new_key(), keep_s=keep_s, once=hashed
        )
        return self._start(record, job, principal, once or "")

    async def attach(self, run_id: str, key: str, *, after: int = 0, name: str = "") -> Seat:
        """Attach to a kept run.

        Args:
            run_id: Which.
            key: One of its two keys.
            after: Number of the last event that the client has; it hears what comes after it.
            name: The client's own name for its driving, if it may come back.

        Raises:
            NoSuchRunError: No kept run of this id is opened by this key; which of both is wrong is
                not told.
            KeptFullError: Too many are attached.

        Cancelling is safe.
        """
        kept = self.kept.get(run_id)
        role = (kept.record if kept else _NOBODY_S).role(key)
        if kept is None or role is None:
            raise no_such_run(run_id)
        return kept.sit(role, after, name)

    def _start(self, record: Record, job: Job, principal: Principal, name: str) -> Seat:
        kept = Kept(record, self._settings, on_news=self._news, on_end=self._ended)
        # Before the run: it is its reader.
        kept.run = self._registry.start(job, principal, kept, run_id=record.run_id)
        self.kept[record.run_id] = kept
        if record.once:
            self._onces[record.once] = record.run_id
        self._live += 1
        return kept.sit("drive", name=name)

    def _check_keep(self, keep_s: float) -> None:
        if keep_s > self._settings.keep_s:
            error = LimitOutOfRangeError(
                f"keep_s is {keep_s:g} s; the server keeps a run for {self._settings.keep_s:g} s "
                "at most",
                path="$.keep_s",
            )
            self._refuse(error)

    def _check_room(self) -> None:
        settings = self._settings
        if len(self.kept) >= settings.kept_max:
            self._refuse(
                KeptFullError(
                    f"{len(self.kept)} runs are kept; the limit is {settings.kept_max} runs",
                    retry_after_s=settings.journal_s,
                )
            )
        need = settings.journal_kb * KIB
        if self.journal_bytes + need > settings.kept_mb * MIB:
            self._refuse(
                KeptFullError(
                    f"the journals of kept runs may hold {self.journal_bytes} bytes, and that of "
                    f"this run {need} more; the limit is {settings.kept_mb * MIB} bytes",
                    retry_after_s=settings.journal_s,
                )
            )

    def _refuse(self, error: WsrunnerError) -> None:
        self._registry.host.tell_refused(error)
        raise error

    def _news(self, kept: Kept) -> None:
        """Hear that something happened to a run."""

    def _ended(self, kept: Kept) -> None:
        """Hear that a run's end is in its journal, and keep that for a while."""
        self._live -= 1
        refused = any(
            isinstance(entry.event, Refused)
            for entry in kept.journal.after(kept.journal.last - 1, 1)
        )
        self._ended_bytes += kept.journal.held_bytes
        if refused:
            # It never was: the same request may be made again.
            self._forget(kept)
            return
        loop = asyncio.get_running_loop()
        self._timers[kept.record.run_id] = loop.call_later(
            self._settings.journal_s, self._forget, kept
        )

    def _forget(self, kept: Kept) -> None:
        record = kept.record
        self._timers.pop(record.run_id, None)
        self._ended_bytes -= kept.journal.held_bytes
        del self.kept[record.run_id]
        self._onces.pop(record.once, None)


def no_such_run(run_id: str) -> NoSuchRunError:
    """Return the one answer for a run that is not there and for a key that does not open it."""
    return NoSuchRunError(f"no kept run {run_id!r} that this key opens", path="$.run")


def _hashed(tenant: str, once: str) -> str:
    """Return what is kept of a client's name for its request: it stands for its keys."""
    return hashlib.sha256(f"{tenant}\0{once}".encode()).hexdigest()


_NOBODY_S = Record(run_id="", drive=new_key(), view=new_key(), keep_s=0.0)
"""Compared with where there is no run, so that time does not tell."""
