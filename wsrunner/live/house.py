"""All runs that this process keeps: begins them, finds them, forgets them, and bounds them.

Owns how many there are, what their journals hold, and how long they stay. One a server.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from wsrunner.errors import KeptFullError, LimitOutOfRangeError, NoSuchRunError, WsrunnerError
from wsrunner.live.kept import Kept
from wsrunner.live.show import Record, Role, Seat, new_key
from wsrunner.runs.events import Refused
from wsrunner.runs.job import Job, Principal
from wsrunner.runs.registry import Registry
from wsrunner.runs.run import new_run_id

if TYPE_CHECKING:
    from wsrunner.live.exchange import Exchange
    from wsrunner.live.store import Store

log = logging.getLogger(__name__)

Began = Callable[[Kept], None] | None

KIB, MIB = 1024, 2**20
JOIN_S = 5.0
"""How long an answer of another replica is waited for, beyond the time to find that one dead."""


class House:
    """The kept runs of one process.

    Args:
        registry: Starts runs.
        store: Redis, through which replicas share them; None for one process alone.

    ``async with`` begins and ends the sharing.

    Attributes:
        kept: Run id → run, from its request until its journal is forgotten.
    """

    def __init__(self, registry: Registry, store: Store | None = None) -> None:
        self._registry = registry
        self._settings = registry.host.settings
        self.kept: dict[str, Kept] = {}
        self._onces: dict[str, str] = {}
        self._ended_bytes = 0
        self._live = 0
        self._claiming: Counter[str] = Counter()  # runs that are just beginning, by tenant
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._beginning: dict[str, asyncio.Task[Seat | str]] = {}
        self._exchange: Exchange | None = None
        if store is not None:
            # A server alone starts sooner without what it takes.
            from wsrunner.live.exchange import Exchange

            self._exchange = Exchange(
                store,
                self._settings,
                find=self.kept.get,
                mine=self._mine,
                starting=lambda: registry.host.starting,
            )

    async def __aenter__(self) -> Self:
        if self._exchange is not None:
            await self._exchange.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._exchange is not None:
            await self._exchange.__aexit__(*exc)

    @property
    def replica(self) -> str:
        """This process's name among those that share a Redis; empty where none does."""
        return "" if self._exchange is None else self._exchange.replica

    def _mine(self) -> list[Kept]:
        return list(self.kept.values())

    @property
    def journal_bytes(self) -> int:
        """What the journals of all kept runs hold, or may yet hold."""
        going_on = self._live + self._claiming.total()
        return self._ended_bytes + going_on * self._settings.journal_kb * KIB

    @property
    def patience_s(self) -> float:
        """How long another replica's answer is waited for."""
        return self._settings.lease_s + JOIN_S

    @property
    def attached(self) -> int:
        """How many clients are attached, over all kept runs."""
        return sum(len(kept.seats) for kept in self.kept.values())

    def seen_by(self, principal: Principal) -> list[Kept]:
        """Return those that somebody may end by `end`, the oldest first."""
        return [kept for kept in self.kept.values() if principal.owns(kept.run.principal)]

    def end(self, principal: Principal, run_id: str) -> None:
        """Cancel a run of this process, or forget it before its time if it is over.

        Raises:
            NoSuchRunError: There is none, or none that is theirs.
        """
        kept = self.kept.get(run_id)
        if kept is None or not principal.owns(kept.run.principal):
            raise NoSuchRunError(
                f"no run {run_id!r} that is yours is kept on this replica", path="$.run"
            )
        if not kept.journal.ended:
            kept.run.end("cancelled")
            return
        self._timers[run_id].cancel()
        self._forget(kept)
        if self._exchange is not None:
            self._exchange.disown(kept.record)

    async def begin(
        self,
        job: Job,
        principal: Principal,
        *,
        keep_s: float,
        once: str | None,
        began: Began = None,
    ) -> Seat:
        """Start a run that is kept; or attach to the one that this request has already started.

        Args:
            job: What to run.
            principal: Whose it is.
            keep_s: How long it goes on while nobody drives it.
            once: The client's own name for this request, which nobody else knows.
            began: Called with the run before anything happens to it, if this request starts it.

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
        while hashed in self._beginning:
            # The same request, over two sockets of this server.
            await asyncio.wait([self._beginning[hashed]])
        begun = self._onces.get(hashed, "")
        if not begun:
            self._check_room(principal)
            record = Record(
                run_id=new_run_id(),
                drive=new_key(),
                view=new_key(),
                keep_s=keep_s,
                owner=self._exchange.replica if self._exchange else "",
                once=hashed,
                tty=job.window is not None,
            )
            seat = await self._begin(record, job, principal, once or "", began)
            if isinstance(seat, Seat):
                return seat
            begun = seat
        found = await self._find(begun)
        if found is None:
            raise NoSuchRunError("the run of this once is over and forgotten", path="$.once")
        return await self._sit(found, "drive", 0, once or "")

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
        found = await self._find(run_id)
        role = _record_of(found).role(key)
        if found is None or role is None:
            raise no_such_run(run_id)
        return await self._sit(found, role, after, name)

    async def sit(self, run_id: str, role: Role, *, after: int, name: str) -> Seat:
        """Attach somebody of whom it is known what they may do; else see `attach`."""
        found = await self._find(run_id)
        if found is None:
            raise NoSuchRunError(f"run {run_id!r} is not kept any more", path="$.run")
        return await self._sit(found, role, after, name)

    async def _find(self, run_id: str) -> Kept | Record | None:
        """Return a run of this process, or what is known of one of another."""
        if run_id in self.kept or self._exchange is None:
            return self.kept.get(run_id)
        return await self._exchange.record(run_id)

    async def _sit(self, found: Kept | Record, role: Role, after: int, name: str) -> Seat:
        """Attach somebody; a driver once the run knows of it."""
        if isinstance(found, Kept):
            return found.sit(role, after, name)
        assert self._exchange is not None
        show = await self._exchange.show(found)
        try:
            seat = show.sit(role, after, name)
        except KeptFullError:
            if not show.seats:
                self._exchange.unfollow(show)
            raise
        if role == "drive":
            try:
                await show.join(seat, self.patience_s)
            except BaseException:
                seat.leave()
                raise
        return seat

    async def _begin(
        self, record: Record, job: Job, principal: Principal, name: str, began: Began
    ) -> Seat | str:
        """Start a run, or return the id of the one that its request has begun elsewhere.

        Cancelling is safe: what has been claimed is begun, and left as if its driver had gone.
        """
        # From now on it counts: others may ask before it is there.
        self._claiming[principal.tenant] += 1
        beginning = asyncio.create_task(self._claim(record, job, principal, name, began))
        if record.once:
            self._beginning[record.once] = beginning
            beginning.add_done_callback(lambda _: self._beginning.pop(record.once))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(_leave)
            raise

    async def _claim(
        self, record: Record, job: Job, principal: Principal, name: str, began: Began
    ) -> Seat | str:
        try:
            begun = await self._exchange.claim(record) if self._exchange else ""
        finally:
            self._claiming[principal.tenant] -= 1
            self._claiming += Counter()  # those of whom none is left go
        return begun or self._start(record, job, principal, name, began)

    def _start(
        self, record: Record, job: Job, principal: Principal, name: str, began: Began
    ) -> Seat:
        kept = Kept(record, self._settings, on_news=self._news, on_end=self._ended)
        # Before the run: it is its reader.
        kept.run = self._registry.start(job, principal, kept, run_id=record.run_id)
        self.kept[record.run_id] = kept
        if record.once:
            self._onces[record.once] = record.run_id
        self._live += 1
        if began is not None:
            began(kept)
        return kept.sit("drive", name=name)

    def _check_keep(self, keep_s: float) -> None:
        if keep_s > self._settings.keep_s:
            error = LimitOutOfRangeError(
                f"keep_s is {keep_s:g} s; the server keeps a run for {self._settings.keep_s:g} s "
                "at most",
                path="$.keep_s",
            )
            self._refuse(error)

    def _check_room(self, principal: Principal) -> None:
        settings, most = self._settings, principal.may.kept_runs
        of_tenant = self._claiming[principal.tenant] + sum(
            kept.run.principal.tenant == principal.tenant for kept in self.kept.values()
        )
        if most and of_tenant >= most:
            self._refuse(
                KeptFullError(
                    f"{of_tenant} runs of tenant {principal.tenant} are kept; its limit is {most} "
                    "runs",
                    retry_after_s=settings.journal_s,
                )
            )
        count = len(self.kept) + self._claiming.total()
        if count >= settings.kept_max:
            self._refuse(
                KeptFullError(
                    f"{count} runs are kept; the limit is {settings.kept_max} runs",
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
        if self._exchange is not None:
            self._exchange.publish(kept)

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
        if self._exchange is not None:
            self._exchange.forget(kept)
        kept.tell_followers(readable=False)


def _leave(beginning: asyncio.Task[Seat | str]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        seat = beginning.result()
        if isinstance(seat, Seat):
            seat.leave()


def _record_of(found: Kept | Record | None) -> Record:
    return found.record if isinstance(found, Kept) else found or _NOBODY_S


def no_such_run(run_id: str) -> NoSuchRunError:
    """Return the one answer for a run that is not there and for a key that does not open it."""
    return NoSuchRunError(f"no kept run {run_id!r} that this key opens", path="$.run")


def _hashed(tenant: str, once: str) -> str:
    """Return what is kept of a client's name for its request: it stands for its keys."""
    return hashlib.sha256(f"{tenant}\0{once}".encode()).hexdigest()


_NOBODY_S = Record(run_id="", drive=new_key(), view=new_key(), keep_s=0.0)
"""Compared with where there is no run, so that time does not tell."""
