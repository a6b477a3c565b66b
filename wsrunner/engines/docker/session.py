"""One container and what is said with it, from its start to its removal."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import aiohttp
from aiodocker.containers import DockerContainer

from wsrunner.engines.base import Ahead, Box, Ended, Item, Plan
from wsrunner.engines.dialogue.dialogue import READY, Dialogue, stand_in
from wsrunner.engines.docker import usage
from wsrunner.engines.docker.asked import asked
from wsrunner.engines.docker.frames import FrameReader
from wsrunner.errors import EngineUnavailableError

if TYPE_CHECKING:
    from wsrunner.engines.docker.engine import DockerEngine

log = logging.getLogger(__name__)

READY_S = 30.0


class DockerContainerSession:
    """One started container and its attach stream; made by `DockerEngine.start`."""

    def __init__(self, engine: DockerEngine, container: DockerContainer, box: Box) -> None:
        self._engine = engine
        self._container = container
        self._tty = box.tty
        self._ahead: Ahead | None = box.ahead
        self._stream: Any = None
        self._reader: FrameReader | None = None  # until it is attached
        self._dialogue: Dialogue | None = None  # until it has a plan
        self._eof = False
        self._printed = False  # more than that it is ready, before it had a plan
        self._destroyed: asyncio.Task[None] | None = None
        self._cpu_before_s = 0.0

    def __repr__(self) -> str:
        return f"<container {self.id[:12]} {'alive' if self.alive else 'ended'}>"

    @property
    def id(self) -> str:
        """The engine's id of the container, 64 hexadecimal digits."""
        return str(self._container.id)

    @property
    def alive(self) -> bool:
        """See `Container.alive`."""
        return not self._attached.ended and self._destroyed is None

    @property
    def unread_stdin_bytes(self) -> int:
        """See `Container.unread_stdin_bytes`."""
        transport = self._transport
        return 0 if transport is None else transport.get_write_buffer_size()

    @property
    def _attached(self) -> FrameReader:
        assert self._reader is not None, "attach comes first"
        return self._reader

    @property
    def _transport(self) -> Any:
        connection = self._stream._resp.connection  # noqa: SLF001 - aiodocker has no other way in
        return None if connection is None else connection.transport

    async def attach(self) -> None:
        """Connect to the container's streams; must come before its start, or output is lost."""
        # On a terminal the engine looks for keys that detach, by default ^P ^Q: a client's input,
        # or a file with these bytes, would end the run. There is no way to have none.
        detach_keys = ",".join(("ctrl-^", *secrets.token_hex(16)))
        stream = self._container.attach(
            stdin=True, stdout=True, stderr=True, detach_keys=detach_keys
        )
        self._stream = stream
        await stream._init()  # noqa: SLF001 - opens the connection without reading from it
        protocol = stream._resp.connection.protocol  # type: ignore[union-attr]  # noqa: SLF001
        self._reader = FrameReader(protocol, tty=self._tty)
        protocol.set_parser(self._reader, self._reader)  # type: ignore[union-attr]

    async def ready(self) -> None:
        """Wait until the bootstrap can take its request: see the head of ``bootstrap.sh``."""
        async with asyncio.timeout(READY_S):
            printed = b""
            while not printed.endswith(READY):
                frames = await self._attached.read(None)
                if not frames:
                    return
                printed += b"".join(frame.data for frame in frames)
        self._printed = printed != READY
        if self._ahead is not None:
            # The engine itself would take a second to say.
            used_ns = usage.cpu_ns_here(self.id)
            allowed_s = self._ahead.start_cpu_s
            self._cpu_before_s = allowed_s if used_ns is None else used_ns / 1e9

    def begin(self, plan: Plan) -> None:
        """See `Container.begin`."""
        assert self._dialogue is None, "a container has one plan"
        # What was started ahead may have printed something, which is no output of this run.
        if self._ahead is not None and (self._attached.discard() or self._printed):
            plan = dataclasses.replace(plan, ahead=False)
        self._dialogue = Dialogue(plan, self._ahead)
        self.write(self._dialogue.request)

    def write(self, data: bytes) -> None:
        """See `Container.write`."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._eof:
            raise EngineUnavailableError("the container takes no more input")
        transport.write(data)

    async def drain(self) -> None:
        """See `Container.drain`."""
        connection = self._stream._resp.connection  # noqa: SLF001
        if connection is not None and connection.protocol is not None:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await connection.protocol._drain_helper()  # noqa: SLF001

    def write_eof(self) -> None:
        """See `Container.write_eof`. With a terminal there is no half-close: sends ^D instead."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._eof:
            return
        if self._tty:
            transport.write(b"\x04")
        else:
            self._eof = True
            transport.write_eof()

    async def read(self, timeout_s: float | None = None) -> Sequence[Item]:
        """See `Container.read`."""
        assert self._dialogue is not None, "begin comes first"
        while True:
            frames = await self._attached.read(timeout_s)
            if not frames:
                return self._dialogue.rest()
            # Bytes that may be the beginning of a mark are no items yet.
            if items := self._dialogue.take(frames):
                return items

    async def signal(self, name: str) -> None:
        """See `Container.signal`."""
        async with asked(f"send {name}"):
            await self._container.kill(signal=stand_in(name))

    async def resize(self, columns: int, rows: int) -> None:
        """See `Container.resize`."""
        async with asked("resize the terminal"):
            await self._container.resize(h=rows, w=columns)

    async def cpu_used_s(self) -> float:
        """See `Container.cpu_used_s`."""
        used_ns = usage.cpu_ns_here(self.id)
        if used_ns is None:
            used_ns = await self._engine.cpu_ns(self.id)
        return max(0.0, (used_ns or 0) / 1e9 - self._cpu_before_s)

    async def ended(self) -> Ended:
        """See `Container.ended`."""
        if self._attached.corrupt:
            log.warning("container %s: its stream is corrupt", self.id[:12])
            return Ended.LOST
        try:
            return await self._engine.end_of(self.id)
        except EngineUnavailableError as exc:
            log.warning("container %s: %s", self.id[:12], exc)
            return Ended.LOST

    async def destroy(self) -> None:
        """See `Container.destroy`."""
        if self._destroyed is None:
            self._destroyed = asyncio.create_task(self._destroy())
        await asyncio.shield(self._destroyed)

    async def _destroy(self) -> None:
        try:
            # First, as the engine removes no container whose stream it can't get rid of: after a
            # client that did not read, the stream is paused and full.
            self._detach()
            await self._engine.remove(self.id)
        except EngineUnavailableError as exc:
            log.warning("container %s is left to the sweep: %s", self.id[:12], exc)
        finally:
            self._engine.forget(self)

    def _detach(self) -> None:
        """Cut the attach stream, whatever waits in it; a reader finds its end."""
        response = None if self._stream is None else self._stream._resp  # noqa: SLF001
        if response is None:
            return
        if self._transport is not None:
            self._transport.abort()
        self._stream._closed = True  # noqa: SLF001
        response.close()
        if self._reader is not None:
            self._reader.feed_eof()
