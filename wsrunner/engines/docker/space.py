"""A workspace's container: its first process carries out plan after plan, on one attach stream.

Owns what goes between runs: tokens, pieces of stdin, and the wait for a run's end. What is said is
`dialogue/space.sh`'s to explain. Must not know about runs, languages or sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from aiodocker.containers import DockerContainer

from wsrunner.engines.base import (
    BadReportError,
    Box,
    Ended,
    Frame,
    Item,
    Left,
    Plan,
    Report,
)
from wsrunner.engines.dialogue.bootstrap import Reports, new_mark
from wsrunner.engines.dialogue.dialogue import END_ALL, READY, Dialogue, piece
from wsrunner.engines.docker import usage
from wsrunner.engines.docker.session import READY_S, DockerContainerSession
from wsrunner.errors import EngineUnavailableError, SpaceUnfitError

if TYPE_CHECKING:
    from wsrunner.engines.docker.engine import DockerEngine

log = logging.getLogger(__name__)

OVER_S = 0.5
"""How long a run that has reported may take to end by itself, before it is made to: its bootstrap
takes milliseconds, unless its program has stopped or traced that."""
HOLD_SHARE = 0.4
"""After which share of the time that it waits a workspace is told to wait on."""
SETTLE_S = 20.0
"""How long all processes may take to go, and what they leave; else the workspace is given up."""


class DockerSpace(DockerContainerSession):
    """See `Space`. Made by `DockerEngine.open_space` and `resume_space`.

    Attributes:
        token: What its first process knows the next run's server by.
        oom_kills: Processes killed for want of memory in all runs that are over.
        up: Whether the next run's bootstrap takes signals already.
    """

    def __init__(
        self, engine: DockerEngine, container: DockerContainer, box: Box, lasts_s: float | None
    ) -> None:
        super().__init__(engine, container, box)
        self.token = b""
        self.oom_kills = 0
        self.up = False
        self._lasts_s = lasts_s
        self._resting = False
        self._holder: asyncio.TimerHandle | None = None

    async def ready(self) -> None:
        """Wait until the first process takes runs.

        Raises:
            SpaceUnfitError: It can't in this image.
        """
        printed = b""
        async with asyncio.timeout(READY_S):
            while printed != READY:
                frames = await self._attached.read(None)
                printed += b"".join(frame.data for frame in frames)
                if not frames or not READY.startswith(printed):
                    raise SpaceUnfitError(
                        "the image can't have workspaces: that takes bash, setpriv, chown, find, "
                        "ipcrm, head and rm",
                        path="$.workspace",
                    )
        self.renew()

    def renew(self) -> None:
        """Have the next run's bootstrap started; what was said before belongs to nobody."""
        before, self.token = self.token, new_mark()
        self.send((b"\n%s\n" % before if before else b"") + b"%s\n" % self.token)
        self.up = False
        self._rest()

    def open(self, data: bytes) -> None:
        """Give the next run's bootstrap its request; raises as `send` does."""
        self._resting = False
        self.send(data)

    def _rest(self) -> None:
        self._resting = True
        if self._holder is None:
            self._hold_later()

    def _hold_later(self) -> None:
        if self._lasts_s is not None:
            loop = asyncio.get_running_loop()
            self._holder = loop.call_later(self._lasts_s * HOLD_SHARE, self._hold)

    def _hold(self) -> None:
        """Have it wait on, as long as it is connected to: a run may wait for its slot for long."""
        if self.alive:
            if self._resting:
                with contextlib.suppress(EngineUnavailableError):
                    self.send(b"\n")
            self._hold_later()

    async def left(self) -> Left:
        """See `Space.left`."""
        reports = Reports(self.token, tty=False)
        try:
            async with asyncio.timeout(SETTLE_S):
                while not self.up:
                    frames = await self.frames(None)
                    items = [item for frame in frames for item in reports.feed(frame)]
                    stages = [item.stage for item in items if isinstance(item, Report)]
                    if len(stages) != len(items) or not frames:
                        raise EngineUnavailableError("its container has ended, or is out of order")
                    self.up = stages == ["up"]
        except (BadReportError, TimeoutError) as exc:
            raise EngineUnavailableError(f"a workspace does not come to rest: {exc!r}") from exc
        return Left(self.id, self.token, self.oom_kills)

    async def resume(self, left: Left) -> None:
        """Connect to it again; raises DockerError if the engine refuses."""
        await self.attach()
        self.token, self.oom_kills, self.up = left.token, left.oom_kills, True
        # It has waited for as long as nobody was connected to it.
        self.send(b"\n")
        self._rest()

    def leave(self) -> None:
        """See `Space.leave`."""
        if self._holder is not None:
            self._holder.cancel()
        self._detach()
        self._engine.forget(self)

    def next_run(self) -> SpaceRun:
        """See `Space.next_run`."""
        return SpaceRun(self)

    def send(self, data: bytes) -> None:
        """Queue bytes for the first process; never blocks.

        Raises:
            EngineUnavailableError: It has ended.
        """
        super().write(data)

    async def frames(self, timeout_s: float | None) -> Sequence[Frame]:
        """Return output as it comes; nothing at the container's end.

        Raises:
            TimeoutError: Nothing came in `timeout_s`, or before `wake`.
        """
        return await self._attached.read(timeout_s)

    def wake(self) -> None:
        """End the wait of who waits for output."""
        self._attached.wake()


class SpaceRun:
    """One plan's time in a workspace, as a `Container`."""

    def __init__(self, space: DockerSpace) -> None:
        self._space = space
        self._over = Reports(space.token, tty=False)
        self._up = asyncio.Event()  # its bootstrap takes signals
        if space.up:
            self._up.set()
        self._is_over = False
        self._dialogue: Dialogue | None = None  # until it has a plan
        self._plan: Plan | None = None  # what it is to bring out yet
        self._held: Report | None = None  # the last one, until nothing changes the files any more
        self._collecting = False
        self._reported = False
        self._eof = False
        self._oom_killed = False
        self._cpu_before_ns: int | None = None  # of the runs before it
        self._signals: set[asyncio.Task[None]] = set()
        self._reading = asyncio.Lock()  # a run may be ended while it is read
        self._destroyed: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """See `Container.id`."""
        return self._space.id

    @property
    def alive(self) -> bool:
        """See `Container.alive`."""
        return self._space.alive and not self._is_over and self._destroyed is None

    @property
    def unread_stdin_bytes(self) -> int:
        """See `Container.unread_stdin_bytes`."""
        return self._space.unread_stdin_bytes

    def begin(self, plan: Plan) -> None:
        """See `Container.begin`."""
        assert self._dialogue is None, "a container has one plan"
        if plan.outputs:
            self._plan = plan
            plan = dataclasses.replace(plan, outputs=())
        self._dialogue = Dialogue(plan)
        self._cpu_before_ns = usage.cpu_ns_here(self.id)
        self._space.open(_opening(plan, self._dialogue.request))

    async def cpu_used_s(self) -> float:
        """See `Container.cpu_used_s`; told where the control group's files are here only."""
        used_ns = usage.cpu_ns_here(self.id)
        if used_ns is None or self._cpu_before_ns is None:
            return 0.0
        return (used_ns - self._cpu_before_ns) / 1e9

    def write(self, data: bytes) -> None:
        """See `Container.write`."""
        if self._eof or self._reported:
            raise EngineUnavailableError("the program takes no more input")
        if data:
            self._space.send(piece(data))

    async def drain(self) -> None:
        """See `Container.drain`."""
        await self._space.drain()

    def write_eof(self) -> None:
        """See `Container.write_eof`."""
        if not self._eof and not self._reported and self._space.alive:
            self._eof = True
            self._space.send(piece(b""))

    async def read(self, timeout_s: float | None = None) -> Sequence[Item]:
        """See `Container.read`."""
        assert self._dialogue is not None, "begin comes first"
        while not self._is_over and self._destroyed is None:
            async with self._reading:
                frames = await self._space.frames(timeout_s)
            if not frames:
                break
            if items := self._take(frames):
                return items
        return self._dialogue.rest()

    def _take(self, frames: Iterable[Frame]) -> list[Item]:
        assert self._dialogue is not None
        items: list[Item] = []
        # First all of them: what a program forges must not hide the run's end.
        for part in self._until_over(frames):
            if self._collecting:
                items.append(part)
            elif not self._reported:
                items += self._without_last(self._dialogue.take([part]))
        if self._is_over and self._held is not None:
            items.append(self._held)
            self._collect()
        return items

    def _until_over(self, frames: Iterable[Frame]) -> list[Frame]:
        """Return the run's own output, and note its end."""
        own: list[Frame] = []
        for frame in frames:
            for item in self._over.feed(frame):
                if isinstance(item, Frame):
                    own.append(item)
                elif isinstance(item, Report) and item.stage == "up" and not self._up.is_set():
                    self._up.set()
                elif not isinstance(item, Report) or item.stage != "over" or self._is_over:
                    raise BadReportError(f"{item!r} by a workspace")
                else:
                    self._is_over = True
                    self._oom_killed = item.oom_kills > self._space.oom_kills
                    self._space.oom_kills = item.oom_kills
        return own

    def _without_last(self, items: Sequence[Item]) -> list[Item]:
        """Note the last report; it is held back until what it is about has come to rest."""
        passed: list[Item] = []
        for item in items:
            if isinstance(item, Report) and (item.stage == "run" or item.code != 0):
                self._reported = True
                if self._plan is not None and item.stage == "run":
                    self._held = item
                    return passed
            passed.append(item)
        return passed

    def _collect(self) -> None:
        """Have the files brought, by a bootstrap of its own that starts no program."""
        plan, self._plan, self._held = self._plan, None, None
        assert plan is not None
        self._space.renew()
        self._over = Reports(self._space.token, tty=False)
        self._up.clear()
        self._is_over, self._collecting = False, True
        self._space.open(_opening(plan, Dialogue.collection(plan)))

    async def signal(self, name: str) -> None:
        """See `Container.signal`. Once asked for, it is waited for by `destroy`."""
        # Seen by who reads.
        await self._up.wait()
        asking = asyncio.create_task(self._space.signal(name))
        self._signals.add(asking)
        asking.add_done_callback(self._signals.discard)
        await asyncio.shield(asking)

    async def resize(self, columns: int, rows: int) -> None:
        """See `Container.resize`; there are no terminals here."""

    async def ended(self) -> Ended:
        """See `Container.ended`."""
        if not self._is_over:
            return await self._space.ended()
        return Ended.OUT_OF_MEMORY if self._oom_killed else Ended.KILLED

    async def destroy(self) -> None:
        """See `Space.next_run`."""
        if self._destroyed is None:
            self._destroyed = asyncio.create_task(self._destroy())
            self._space.wake()
        await asyncio.shield(self._destroyed)

    async def _destroy(self) -> None:
        if self._dialogue is None and not self._signals:
            return  # the bootstrap still waits for a plan
        try:
            async with asyncio.timeout(SETTLE_S):
                # One that comes late would reach the next run.
                await asyncio.gather(*self._signals, return_exceptions=True)
                await self._settle()
            self._space.renew()
        except (BadReportError, EngineUnavailableError, TimeoutError) as exc:
            log.warning("workspace %s is given up: %r", self.id[:12], exc)
            await self._space.destroy()

    async def _settle(self) -> None:
        """Wait until nothing of the run is there any more, and see to it."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + (OVER_S if self._reported and not self._collecting else 0)
        told = False
        while not self._is_over:
            left_s = until_s - loop.time()
            if not told and left_s <= 0 and self._up.is_set():
                told = True
                await self._space.signal(END_ALL)
            try:
                async with self._reading:
                    if self._is_over:
                        break  # the reader has seen it
                    wait_s = left_s if self._up.is_set() and not told else None
                    frames = await self._space.frames(wait_s)
            except TimeoutError:
                continue
            if not frames:
                raise EngineUnavailableError("its container has ended")
            self._until_over(frames)


def _opening(plan: Plan, request: bytes) -> bytes:
    return b"%d\n%s" % (int(plan.wall_s) + 3, piece(request))
