"""Workspaces: containers that are kept between the runs of one principal, under a name.

Owns them, their bounds and their end. A workspace's runs take turns: who waits for one holds no
slot. Where several servers may go on with one (see `ledger`), this one leaves it a moment after its
last run. Must not know about requests or sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

from wsrunner.engines.base import SPACE_LIFE_S, Box, Container, Engine, Left, Space
from wsrunner.errors import (
    EngineUnavailableError,
    GateUnavailableError,
    NoSuchSpaceError,
    NotAllowedError,
    SpaceBusyError,
    SpaceElsewhereError,
    SpacesFullError,
    WsrunnerError,
)
from wsrunner.runs.job import Principal
from wsrunner.runs.ledger import Alone, Ledger, Whose, elsewhere, unfit
from wsrunner.runs.tasks import to_the_end

log = logging.getLogger(__name__)

TURNS_MAX = 16
"""Runs that may wait for their turn in one workspace."""
AGE_MAX_S = SPACE_LIFE_S / 2
"""An older one is replaced at its next run, so that none is taken for left over."""
RETRY_AFTER_S = 5.0
LEAVE_AFTER_S = 0.25
"""How long after its last run a workspace is left to whichever server is asked for it next; runs
that follow each other at once cost no more than on a server alone."""
LEFT_SOON_S = 4 * LEAVE_AFTER_S
PATIENCE_S = 10.0
"""How long a run of another server is waited for."""
POLL_S = 0.02
POLL_MAX_S = 0.5
LOOK_EVERY_S = 1.0
KNOWN_MORE_S = 5.0
"""How much longer than it may be idle one is known that was left: whoever left it ends it."""
LASTS_MORE_S = 10.0
"""How much longer than that it waits, and then ends by itself."""

State = Literal["new", "kept"]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a workspace is.

    Attributes:
        tenant: Its tenant; empty for who has none.
        subject: Which of the tenant's users; empty for the tenant itself.
        most: How many the tenant may have now; 0 for what the server lets each.
    """

    tenant: str
    subject: str
    most: int = field(default=0, compare=False)

    def is_under(self, principal: Principal) -> bool:
        """Whether somebody may see that it has a workspace, and end it, without its name.

        An operator may, and a tenant's own token; those who have no tenant may not, as they share.
        """
        same = self.tenant == principal.tenant != "" and principal.subject in {"", self.subject}
        return principal.operator or same


def owner_of(principal: Principal) -> Owner:
    """Return whose workspaces somebody uses: the one place that says so.

    Each user of a tenant has their own, and so has the tenant itself. Who has no tenant shares the
    nameless one's with everybody else who has none: all who have the access token, or, without one,
    all who reach the server.
    """
    return Owner(principal.tenant, principal.subject, principal.may.workspaces)


class Facts(NamedTuple):
    """What is told of a workspace.

    Attributes:
        name: Its owner's name for it: nobody else's business.
        id: The server's name for it.
        tenant: Its owner's.
        image: What it is made of.
        busy: Whether a run goes on in it, or waits for it.
        age_s: Since its first run was asked for.
        idle_s: Since its last run; 0 while it is busy.
    """

    name: str
    id: str
    tenant: str
    image: str
    busy: bool
    age_s: float
    idle_s: float


@dataclass(eq=False, slots=True)
class _Kept:
    owner: Owner
    name: str
    box: Box
    born_s: float
    label: str  # tells its container from any other
    held: bool = False  # whether no other server can have it
    left: Left | None = None  # what goes on with it, if this server has left it last
    told: bool = False  # whether the others can know that it is left
    space: Space | None = None  # while it is held
    space_born_s: float = 0.0
    # Runs that wait for their turn, and the one whose turn it is.
    runs: int = 0
    idle_since_s: float = 0.0
    forgotten: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    expiry: asyncio.TimerHandle | None = None

    def facts(self, now_s: float) -> Facts:
        """Return what is told of it."""
        return Facts(
            self.name,
            self.label,
            self.owner.tenant,
            self.box.image,
            busy=self.runs > 0,
            age_s=now_s - self.born_s,
            idle_s=0.0 if self.runs else now_s - self.idle_since_s,
        )


class Turn:
    """A run's turn in a workspace.

    Attributes:
        state: Whether files of earlier runs may be there; set once it has its container.
    """

    def __init__(self, workspaces: Workspaces, kept: _Kept) -> None:
        self._workspaces = workspaces
        self._kept = kept
        self.state: State = "new"

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[Container]:
        """Lend the container for the run; at the end of the block all its processes have ended.

        Raises:
            SpaceUnfitError, ImageMissingError, EngineUnavailableError: See `Engine.open_space`.

        Cancelling is safe.
        """
        space, self.state = await self._workspaces.space_of(self._kept)
        container = space.next_run()
        try:
            yield container
        finally:
            await to_the_end(container.destroy())


class Workspaces:
    """Keeps containers between runs.

    Args:
        engine: Starts them.
        most: How many there may be.
        most_each: How many one owner may have.
        idle_s: Seconds after its last run at which one ends.
        scope: What all servers have in common for which one name is one workspace.
        ledger: Says which of them has it.

    ``async with`` ends those that are left.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        most: int,
        most_each: int,
        idle_s: float,
        scope: str,
        ledger: Ledger | None = None,
    ) -> None:
        self._engine = engine
        self._most = most
        self._most_each = most_each
        self._idle_s = idle_s
        self._scope = scope
        self._ledger: Ledger = ledger or Alone()
        self._lasts_s = idle_s + LASTS_MORE_S if self._ledger.shares else None
        self._kept: dict[tuple[Owner, str], _Kept] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._drops: dict[str, asyncio.Task[None]] = {}
        self._undropped: dict[str, Whose] = {}  # that this server may have for nothing, by label
        self._looking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        busy = sum(kept.runs > 0 for kept in self._kept.values())
        return f"<workspaces {len(self._kept)} of {self._most}, {busy} busy>"

    def __len__(self) -> int:
        return len(self._kept)

    async def __aenter__(self) -> Self:
        if self._ledger.shares:
            self._looking = asyncio.create_task(self._look(), name="workspaces")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
        await self._done()  # what is just being left is left, and can be ended
        for kept in list(self._kept.values()):
            self._end(kept)
        await self._done()

    async def _done(self) -> None:
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextlib.asynccontextmanager
    async def turn(self, owner: Owner, name: str, box: Box) -> AsyncIterator[Turn]:
        """Wait for a run's turn in a workspace, which is made if there is none of that name.

        Runs take their turns in the order in which they came.

        Args:
            owner: Of `owner_of`.
            name: The owner's name for it.
            box: What the run's container must be made of.

        Raises:
            SpaceUnfitError: The one of that name is made of something else.
            SpacesFullError: There is no room for another one.
            SpaceBusyError: Too many wait already.
            SpaceElsewhereError: A run goes on in it, on another server.
            EngineUnavailableError, GateUnavailableError: What that takes can't be reached.

        Cancelling is safe.
        """
        while True:
            kept = self._find_or_make(owner, name, box)
            kept.runs += 1
            if kept.expiry is not None:
                kept.expiry.cancel()
                kept.expiry = None
            try:
                async with kept.turn:
                    # It may have been forgotten meanwhile; then there may be another of its name.
                    if not kept.forgotten and not kept.held:
                        # Before the wait for a slot, while the run can be refused.
                        await self._take(kept, box)
                        if kept.forgotten:
                            self._drop(kept.label)
                    if not kept.forgotten:
                        if kept.box != box:
                            raise unfit(kept.box, box)
                        yield Turn(self, kept)
                        return
            finally:
                kept.runs -= 1
                self._rest(kept)

    def _find_or_make(self, owner: Owner, name: str, box: Box) -> _Kept:
        kept = self._kept.get((owner, name))
        if kept is None:
            self._check_room(owner)
            kept = _Kept(owner, name, box, time.monotonic(), self._label(owner, name))
            self._kept[owner, name] = kept
        elif kept.box != box and kept.left is None:
            # Of what was left the ledger knows: it may have been made anew, elsewhere.
            raise unfit(kept.box, box)
        elif kept.runs > TURNS_MAX:
            raise SpaceBusyError(
                f"{TURNS_MAX} runs wait for their turn in the workspace {name!r}; the limit is "
                f"{TURNS_MAX} runs",
                path="$.workspace",
                retry_after_s=RETRY_AFTER_S,
            )
        return kept

    def _label(self, owner: Owner, name: str) -> str:
        """Return a text that no name can be read off."""
        told = f"{self._scope}\0{owner.tenant}\0{owner.subject}\0{name}"
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    def _check_room(self, owner: Owner) -> None:
        own = sum(kept.owner.tenant == owner.tenant for kept in self._kept.values())
        most_each = min(self._most_each, owner.most or self._most_each)
        for count, most, whose in (
            (own, most_each, "you have"),
            (len(self._kept), self._most, "this server has"),
        ):
            if count >= most:
                raise SpacesFullError(
                    f"{whose} {count} workspaces; the limit is {most} workspaces",
                    path="$.workspace",
                    retry_after_s=RETRY_AFTER_S if most else None,
                )

    async def _take(self, kept: _Kept, box: Box) -> None:
        """Have a workspace whose turn the caller has, as soon as no other server has it.

        Raises:
            SpaceElsewhereError: That takes long.
            WsrunnerError: See `turn`.
        """
        until_s, pause_s = time.monotonic() + PATIENCE_S, POLL_S
        while True:
            # Whole: what has been taken must not be lost with a client that goes away.
            await to_the_end(self._take_if_free(kept, box))
            if kept.held:
                return
            if time.monotonic() > until_s:
                raise elsewhere("a run goes on in it")
            await asyncio.sleep(pause_s)
            pause_s = min(1.5 * pause_s, POLL_MAX_S)

    async def _take_if_free(self, kept: _Kept, box: Box) -> None:
        if kept.label in self._drops:
            await asyncio.wait([self._drops[kept.label]])
        try:
            taken = await self._ledger.take(kept.label, box)
        except GateUnavailableError:
            # It may have been taken all the same.
            self._undropped.setdefault(kept.label, "had")
            raise
        self._undropped.pop(kept.label, None)
        if taken is None:
            return
        left, age_s = taken.left, taken.age_s
        if taken.had and kept.left is not None:
            left, age_s = kept.left, time.monotonic() - kept.space_born_s
        kept.box, kept.held, kept.left = box, True, None
        if left is not None:
            await self._go_on(kept, left, age_s)

    async def _go_on(self, kept: _Kept, left: Left, age_s: float) -> None:
        """Connect to what was left."""
        assert self._lasts_s is not None
        kept.space_born_s = time.monotonic() - age_s
        try:
            kept.space = await self._engine.resume_space(kept.box, left, self._lasts_s)
        except EngineUnavailableError:
            # It may be there: for whoever comes when the engine answers.
            kept.held, kept.left = False, left
            kept.idle_since_s = time.monotonic()
            await self._tell_left(kept)
            raise
        kept.born_s = kept.space_born_s

    async def _leave(self, kept: _Kept) -> None:
        """Let any server go on with a workspace that nobody uses here."""
        async with kept.turn:
            space = kept.space
            if kept.runs or kept.forgotten or space is None:
                return
            try:
                left = await space.left()
            except EngineUnavailableError as exc:
                log.warning("workspace %s is given up: %s", space.id[:12], exc.message)
                self._forget(kept)
                return
            if kept.runs or kept.forgotten:
                return
            # First: where two are connected, one that stands still holds up the other one's output.
            space.leave()
            kept.held, kept.left, kept.space = False, left, None
            await self._tell_left(kept)

    async def _tell_left(self, kept: _Kept) -> None:
        """Let others know of one that this server has left, now or as soon as that can be."""
        kept.told = False
        left = kept.left
        assert left is not None
        life_s = self._idle_s + KNOWN_MORE_S
        age_s = time.monotonic() - kept.space_born_s
        try:
            kept.told = await self._ledger.leave(kept.label, kept.box, left, life_s, age_s)
        except GateUnavailableError:
            return  # see `_look`
        if not kept.told:
            self._lose(kept)

    async def _tell_left_again(self, kept: _Kept) -> None:
        async with kept.turn:
            if kept.left is not None and not kept.told and not kept.runs and not kept.forgotten:
                await self._tell_left(kept)

    def _lose(self, kept: _Kept) -> None:
        """Know no more of what has become another server's."""
        kept.left = None
        if not kept.runs:
            self._strike(kept)

    def _leave_later(self, kept: _Kept, after_s: float) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(after_s, lambda: self._begin(self._leave(kept)))

    async def _look(self) -> None:
        """See, for ever, which of those that were left others have by now."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                used = {each.label for each in self._kept.values() if each.runs or each.held}
                for label in self._undropped.keys() - used:
                    self._drop(label, self._undropped[label])
                left = {each.label: each for each in self._kept.values() if each.left}
                for kept in left.values():
                    if not kept.told:
                        self._begin(self._tell_left_again(kept))
                told = [label for label, kept in left.items() if kept.told]
                for label in await self._ledger.gone(told) if told else ():
                    if left[label].left and not left[label].runs:
                        self._lose(left[label])
            except WsrunnerError:
                continue  # whoever needs one is told
            except Exception:
                log.exception("could not look for workspaces")

    async def space_of(self, kept: _Kept) -> tuple[Space, State]:
        """Return the container of a workspace whose turn the caller has, started if need be."""
        now_s = time.monotonic()
        space = kept.space
        if space is not None and space.alive and now_s - kept.space_born_s < AGE_MAX_S:
            return space, "kept"
        kept.space = None
        if space is not None:
            await space.destroy()
        kept.space = await self._engine.open_space(kept.box, kept.label, self._lasts_s)
        kept.space_born_s = now_s
        return kept.space, "new"

    def _rest(self, kept: _Kept) -> None:
        """Let a workspace that nobody uses wait for its next run, or end it."""
        if kept.runs:
            return
        loop = asyncio.get_running_loop()
        if kept.left and not kept.forgotten:
            # It was not to be had just now.
            left_s = max(0.0, kept.idle_since_s + self._idle_s - time.monotonic())
            kept.expiry = loop.call_later(left_s, self._end, kept)
            return
        if kept.forgotten or kept.space is None or not kept.space.alive:
            self._forget(kept)
            return
        kept.idle_since_s = time.monotonic()
        kept.expiry = loop.call_later(self._idle_s, self._end, kept)
        if self._ledger.shares:
            self._leave_later(kept, LEAVE_AFTER_S)

    def of(self, owner: Owner) -> list[Facts]:
        """Return an owner's workspaces, by name."""
        now_s = time.monotonic()
        return sorted(kept.facts(now_s) for kept in self._kept.values() if kept.owner == owner)

    def seen_by(self, principal: Principal) -> list[Facts]:
        """Return those that somebody may end by `end`, the oldest first."""
        now_s = time.monotonic()
        kept = self._kept.values()
        return [each.facts(now_s) for each in kept if each.owner.is_under(principal)]

    def end(self, principal: Principal, id: str) -> None:  # noqa: A002
        """End a workspace by the server's name for it, as `forget` does.

        Raises:
            NoSuchSpaceError: There is none, or none that is under who asks.
        """
        for kept in self._kept.values():
            if kept.label == id and kept.owner.is_under(principal):
                self._end(kept)
                return
        raise NoSuchSpaceError(
            f"no workspace {id!r} that is yours is on this replica", path="$.workspace"
        )

    def _end(self, kept: _Kept) -> None:
        if kept.left:
            self._drop(kept.label)
        self._forget(kept)

    async def forget(self, principal: Principal, name: str) -> None:
        """End a workspace: now if it is idle, else with the run that goes on in it.

        Its name is free at once.

        Raises:
            NoSuchSpaceError: Who asks has none of that name.
            SpaceElsewhereError: A run goes on in it, on another server.
            NotAllowedError: Who asks may only watch.
            GateUnavailableError: What servers share can't be reached.

        Cancelling is safe.
        """
        if not principal.drives:
            raise NotAllowedError("this token is for watching; it forgets no workspace")
        owner = owner_of(principal)
        kept = self._kept.get((owner, name))
        if kept is not None and not kept.runs:
            async with kept.turn:
                pass  # it may just be left
        if kept is None or not kept.held:
            # A run that waits for another server's is in none yet.
            left = await self._drop_soon(self._label(owner, name))
            if left is None and kept is not None and not kept.told:
                left = kept.left
            if left is None:
                raise NoSuchSpaceError(f"there is no workspace {name!r}", path="$.workspace")
            self._begin(self._engine.end_space(left))
        if kept is not None:
            self._forget(kept)

    async def _drop_soon(self, label: str) -> Left | None:
        """Drop one that nobody has; a server that has it because of a run just now leaves it soon.

        Raises:
            SpaceElsewhereError, GateUnavailableError: See `forget`.
        """
        until_s = time.monotonic() + LEFT_SOON_S
        while True:
            try:
                return await self._ledger.drop(label, "any")
            except SpaceElsewhereError:
                if time.monotonic() > until_s:
                    raise
            await asyncio.sleep(POLL_S)

    def _strike(self, kept: _Kept) -> None:
        """Take it off the list."""
        if self._kept.get((kept.owner, kept.name)) is kept:
            del self._kept[kept.owner, kept.name]
        if kept.expiry is not None:
            kept.expiry.cancel()

    def _forget(self, kept: _Kept) -> None:
        """Take it off the list, and end its container unless a run is in it, which will."""
        self._strike(kept)
        if kept.held and not kept.forgotten:
            self._drop(kept.label)
        kept.forgotten = True
        if kept.runs or kept.space is None:
            return
        space, kept.space = kept.space, None
        self._begin(space.destroy())

    def _drop(self, label: str, whose: Whose = "own") -> None:
        """Let the name of a workspace be free for every server, and end what was left of it."""
        if label not in self._drops:
            self._drops[label] = self._begin(self._dropped(label, whose))

    async def _dropped(self, label: str, whose: Whose) -> None:
        self._undropped.pop(label, None)
        try:
            left = await self._ledger.drop(label, whose)
        except SpaceElsewhereError:
            pass  # it was not this server's any more
        except GateUnavailableError:
            self._undropped[label] = whose
        else:
            if left is not None:
                self._begin(self._engine.end_space(left))
        finally:
            del self._drops[label]
