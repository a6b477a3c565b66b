"""Workspaces: containers that are kept between the runs of one principal, under a name.

Owns them, their bounds and their end. A workspace's runs take turns: who waits for one holds no
slot. Must not know about requests or sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

from wsrunner.engines.base import SPACE_LIFE_S, Box, Container, Engine, Space
from wsrunner.errors import (
    NoSuchSpaceError,
    NotAllowedError,
    SpaceBusyError,
    SpacesFullError,
    SpaceUnfitError,
)
from wsrunner.runs.job import Principal
from wsrunner.runs.tasks import to_the_end

log = logging.getLogger(__name__)

TURNS_MAX = 16
"""Runs that may wait for their turn in one workspace."""
AGE_MAX_S = SPACE_LIFE_S / 2
"""An older one is replaced at its next run, so that none is taken for left over."""
RETRY_AFTER_S = 5.0

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
    space: Space | None = None
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
            SpaceElsewhereError, SpaceUnfitError, ImageMissingError, EngineUnavailableError: See
                `Engine.open_space`.

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

    ``async with`` ends those that are left.
    """

    def __init__(
        self, engine: Engine, *, most: int, most_each: int, idle_s: float, scope: str
    ) -> None:
        self._engine = engine
        self._most = most
        self._most_each = most_each
        self._idle_s = idle_s
        self._scope = scope
        self._kept: dict[tuple[Owner, str], _Kept] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        busy = sum(kept.runs > 0 for kept in self._kept.values())
        return f"<workspaces {len(self._kept)} of {self._most}, {busy} busy>"

    def __len__(self) -> int:
        return len(self._kept)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for kept in list(self._kept.values()):
            self._forget(kept)
        await asyncio.gather(*self._ending)

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
            SpaceElsewhereError: Another replica on the same engine has it.
            EngineUnavailableError: The engine does not answer.

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
                    if not kept.forgotten:
                        if kept.space is None:
                            # Before the wait for a slot, while the run can be refused.
                            await self._engine.refuse_elsewhere(kept.label)
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
        elif kept.box != box:
            raise SpaceUnfitError(
                f"the workspace {name!r} is {_described(kept.box)}; this run asks for "
                f"{_described(box)}: forget it first, or use another name",
                path="$.workspace",
            )
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

    async def space_of(self, kept: _Kept) -> tuple[Space, State]:
        """Return the container of a workspace whose turn the caller has, started if need be."""
        now_s = time.monotonic()
        space = kept.space
        if space is not None and space.alive and now_s - kept.space_born_s < AGE_MAX_S:
            return space, "kept"
        kept.space = None
        if space is not None:
            await space.destroy()
        kept.space = await self._engine.open_space(kept.box, kept.label)
        kept.space_born_s = now_s
        return kept.space, "new"

    def _rest(self, kept: _Kept) -> None:
        """Let a workspace that nobody uses wait for its next run, or end it."""
        if kept.runs:
            return
        if kept.forgotten or kept.space is None or not kept.space.alive:
            self._forget(kept)
            return
        kept.idle_since_s = time.monotonic()
        loop = asyncio.get_running_loop()
        kept.expiry = loop.call_later(self._idle_s, self._forget, kept)

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
                self._forget(kept)
                return
        raise NoSuchSpaceError(
            f"no workspace {id!r} that is yours is on this replica", path="$.workspace"
        )

    def forget(self, principal: Principal, name: str) -> None:
        """End a workspace: now if it is idle, else with the run that goes on in it.

        Its name is free at once.

        Raises:
            NoSuchSpaceError: Who asks has none of that name.
            NotAllowedError: Who asks may only watch.
        """
        if not principal.drives:
            raise NotAllowedError("this token is for watching; it forgets no workspace")
        kept = self._kept.get((owner_of(principal), name))
        if kept is None:
            raise NoSuchSpaceError(f"there is no workspace {name!r}", path="$.workspace")
        self._forget(kept)

    def _forget(self, kept: _Kept) -> None:
        """Take it off the list, and end its container unless a run is in it, which will."""
        if self._kept.get((kept.owner, kept.name)) is kept:
            del self._kept[kept.owner, kept.name]
        kept.forgotten = True
        if kept.expiry is not None:
            kept.expiry.cancel()
        if kept.runs or kept.space is None:
            return
        space, kept.space = kept.space, None
        ending = asyncio.create_task(space.destroy())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _described(box: Box) -> str:
    return f"of {box.image} with {box.memory_bytes >> 20} MiB of memory and {box.pids} processes"
