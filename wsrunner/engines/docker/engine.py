"""The Docker engine: containers through aiodocker, their output from the attach stream.

With `images` the only module that imports aiodocker. Formats and options are those of the
Docker Engine API 1.41 (Docker 20.10 and later). What is said with a container's first process is
`dialogue`'s. Must not know about runs, languages or sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import math
import random
import secrets
import signal as signals
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer

from wsrunner.engines.base import (
    SPACE_LIFE_S,
    STDERR,
    STDOUT,
    Ahead,
    Box,
    Ended,
    Frame,
    Item,
    Plan,
)
from wsrunner.engines.dialogue.dialogue import (
    READY,
    Dialogue,
    first_process,
    space_process,
    stand_in,
)
from wsrunner.engines.docker import sandbox, usage
from wsrunner.engines.docker.images import UNUSABLE
from wsrunner.errors import EngineUnavailableError, ImageMissingError, SpaceElsewhereError
from wsrunner.units import KIB

if TYPE_CHECKING:
    from wsrunner.engines.docker.space import DockerSpace

log = logging.getLogger(__name__)

S = TypeVar("S")

LABEL_INSTANCE = "wsrunner.instance"
LABEL_BOOT = "wsrunner.boot"
LABEL_LIFE_S = "wsrunner.life_s"
LABEL_SPACE = "wsrunner.workspace"
SPACE_CAPABILITIES = ("CHOWN", "KILL", "SETGID", "SETUID")
"""What a workspace's first process has beyond its programs; see ``dialogue/space.sh``."""
SPACE_PIDS = 6
"""Its own processes beside the bootstrap: itself, the feeder with a `head`, the watchdog of two."""
WORK_DIR = "/home/glot"
TMP_BYTES = 64 * 2**20
NOFILE_MAX = 1024

READ_HIGH_BYTES = 512 * KIB
"""Unread output after which the attach stream is paused, so that the program blocks."""
RECONNECT_S = 0.5
ANSWER_S = 10.0
"""How long the engine may take over small things, before it counts as hung."""
START_S = 60.0
UID_TRIES = 100
"""Users that are drawn for a container until one is free."""
END_KNOWN_S = 5.0
"""How long after a stream's end the container's own end may come. It takes 30 ms, or more on a busy
machine; one that still runs then has lost its stream."""
OOM_EVENT_S = 0.5
"""How long after the container's end the report of an out-of-memory kill may come."""
READY_S = 30.0
REMOVAL_S = 30.0
REMOVAL_POLL_S = 0.01
REMOVAL_POLL_MAX_S = 0.5
SWEEP_AGE_S = 300
RETRY_AFTER_S = 2.0

_NOT_FOUND = 404
_CONFLICT = 409
_HEADER = struct.Struct(">LL")
_STREAMS = {stream << 24: stream for stream in range(3)}
"""A frame's stream (0 is stdin) by the header's first four bytes, of which three are zero."""
_FRAME_MAX_BYTES = 2**20
"""Far more than any engine puts in one: Docker 32 KiB, what its copy loop reads at once."""
_KILLED = 128 + signals.SIGKILL


@contextlib.asynccontextmanager
async def _asked(doing: str, timeout_s: float | None = ANSWER_S) -> AsyncIterator[None]:
    """Bound a request to the engine, and turn what it raises into `EngineUnavailableError`.

    Answers are to be taken apart inside, for one that is not as it should be raises then.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError) as exc:
        late = f"no answer in {timeout_s} s" if isinstance(exc, TimeoutError) else repr(exc)
        reason = exc.message if isinstance(exc, aiodocker.DockerError) else str(exc) or late
        raise EngineUnavailableError(
            f"the container engine could not {doing}: {reason}", retry_after_s=RETRY_AFTER_S
        ) from exc
    except UNUSABLE as exc:
        raise EngineUnavailableError(
            f"the container engine was to {doing}, and its answer is of no use: {exc!r}",
            retry_after_s=RETRY_AFTER_S,
        ) from exc


def _connect() -> aiodocker.Docker:
    try:
        return aiodocker.Docker(timeout=aiohttp.ClientTimeout(sock_connect=5))
    except (AssertionError, ValueError) as exc:
        raise EngineUnavailableError(
            "no Docker engine found: neither DOCKER_HOST nor /run/docker.sock; "
            "`wsrunner setup --with-deps` installs and starts one"
        ) from exc


class _FrameReader:
    """Takes the attach stream's bytes from aiohttp as they come and hands out whole frames.

    In place of aiodocker's own queue, which wakes its reader once per frame: an unbuffered writer
    makes 100,000 frames a second, so frames of one read are parsed together and neighbours of one
    stream joined.
    """

    def __init__(self, protocol: Any, *, tty: bool) -> None:
        self._protocol = protocol
        self._tty = tty
        self._partial = bytearray()
        self._frames: list[Frame] = []
        self._unread_bytes = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False
        self.corrupt = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called by aiohttp's protocol with each piece it received."""
        if self.corrupt:
            pass
        elif self._tty:
            self._frames.append(Frame(STDOUT, bytes(data)))
            self._unread_bytes += len(data)
        else:
            self._parse(data)
        # Also while nobody waits for output: what comes meanwhile is then read at one go.
        waited_for = self._waiter is not None
        if not self._paused and (not waited_for or self._unread_bytes > READ_HIGH_BYTES):
            self._paused = True
            self._protocol.pause_reading()
        self.wake()
        return False, b""

    def _parse(self, data: bytes) -> None:
        if self._partial:
            self._partial += data
            data = bytes(self._partial)
            self._partial.clear()
        view = memoryview(data)
        at, end = 0, len(data)
        stream, pieces = 0, list[memoryview]()
        while end - at >= _HEADER.size:
            word, size = _HEADER.unpack_from(data, at)
            next_stream = _STREAMS.get(word)
            if next_stream is None or size > _FRAME_MAX_BYTES:
                # Whatever follows can't be told apart any more.
                self.corrupt = self.ended = True
                at = end
                break
            begin = at + _HEADER.size
            if end - begin < size:
                break
            if next_stream != stream:
                self._append(stream, pieces)
                stream, pieces = next_stream, []
            pieces.append(view[begin : begin + size])
            at = begin + size
        self._append(stream, pieces)
        if at < end:
            self._partial += view[at:]

    def _append(self, stream: int, pieces: list[memoryview]) -> None:
        if pieces:
            joined = b"".join(pieces)
            self._unread_bytes += len(joined)
            self._frames.append(Frame(STDERR if stream == STDERR else STDOUT, joined))

    def feed_eof(self) -> None:
        """Called by aiohttp's protocol at the end of the stream."""
        self.ended = True
        self.wake()

    def set_exception(self, exc: BaseException, *_: Any) -> None:
        """Called by aiohttp's protocol when the connection broke: the same as its end here."""
        del exc
        self.feed_eof()

    def wake(self) -> None:
        """Have who waits look again; where nothing has come, its time is over."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self, timeout_s: float | None) -> Sequence[Frame]:
        """See `Container.read`."""
        if not self._frames and not self.ended:
            # What came while nobody waited may have been less than a frame.
            self._resume()
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if timeout_s is None else loop.call_later(max(0.0, timeout_s), self.wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
            if not self._frames and not self.ended:
                raise TimeoutError
        frames, self._frames = self._frames, []
        self._unread_bytes = 0
        self._resume()
        return frames

    def discard(self) -> bool:
        """Drop what has come and was not read; return whether there was anything."""
        frames, self._frames = self._frames, []
        self._unread_bytes = 0
        return bool(frames)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._protocol.resume_reading()


class DockerContainerSession:
    """One started container and its attach stream; made by `DockerEngine.start`."""

    def __init__(self, engine: DockerEngine, container: DockerContainer, box: Box) -> None:
        self._engine = engine
        self._container = container
        self._tty = box.tty
        self._ahead: Ahead | None = box.ahead
        self._stream: Any = None
        self._reader: _FrameReader | None = None  # until it is attached
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
    def _attached(self) -> _FrameReader:
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
        self._reader = _FrameReader(protocol, tty=self._tty)
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
        async with _asked(f"send {name}"):
            await self._container.kill(signal=stand_in(name))

    async def resize(self, columns: int, rows: int) -> None:
        """See `Container.resize`."""
        async with _asked("resize the terminal"):
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


class DockerEngine:
    """Docker (or what speaks its API) at ``DOCKER_HOST``, else at the local socket.

    Args:
        instance: Name on the labels of its containers; `sweep` removes what an earlier process of
            the same name left.
        uids: Numbers of the users that containers run as. The kernel counts some things by user
            over the whole host (pending signals, inotify instances, POSIX queues, pages of pipes,
            …), so each container gets one of its own; a single one is shared by all.
        runtime: The engine's name of the OCI runtime, such as ``runc``.
        seccomp: The system calls that programs may make: see `sandbox.seccomp_profile`.
        life_s: Seconds after which none of its containers can be in use any more.
    """

    def __init__(
        self,
        *,
        instance: str,
        uids: range,
        runtime: str = "runc",
        seccomp: str = sandbox.OWN,
        life_s: float = math.inf,
    ) -> None:
        self._instance = instance
        self._uids = uids
        self._boot = secrets.token_hex(8)
        self._runtime = runtime
        self._security_options = sandbox.security_options(sandbox.seccomp_profile(seccomp))
        self._life_s = life_s
        self._docker: aiodocker.Docker
        self._live: dict[str, DockerContainerSession] = {}
        self._creations: set[asyncio.Task[Any]] = set()
        self._listeners: list[Callable[[], None]] = []
        self._images: dict[str, str] | None = None
        self._labels: dict[str, Mapping[str, str]] = {}  # as of the last time they were listed
        self._changes = 0
        self._watcher: asyncio.Task[None] | None = None
        self._watching = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._docker = _connect()
        # Each run holds a connection for its attach stream; aiohttp's default stops at 100.
        self._docker.connector._limit = 0  # noqa: SLF001 - aiodocker builds the connector itself
        self._watcher = asyncio.create_task(self._watch(), name="engine events")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        # What a cancelled run left half created becomes a session yet.
        await asyncio.gather(*self._creations, return_exceptions=True)
        await asyncio.gather(*(session.destroy() for session in list(self._live.values())))
        await self._docker.close()

    def on_change(self, listener: Callable[[], None]) -> None:
        """See `Engine.on_change`."""
        self._listeners.append(listener)

    async def ping(self) -> None:
        """See `Engine.ping`.

        On a connection of its own, as an engine that is stopping still serves those it has.
        """
        async with _asked("answer"), _connect() as docker, docker._query("_ping"):  # noqa: SLF001
            pass

    async def name(self) -> str:
        """See `Engine.name`."""
        async with _asked("say who it is"):
            return str((await self._docker.system.info())["ID"])

    async def images(self) -> Mapping[str, str]:
        """See `Engine.images`. Asked again only after the engine reported a change."""
        # Without the event stream a change would go unnoticed, so nothing is kept then.
        if self._images is not None and self._watching.is_set():
            return self._images
        changes = self._changes
        async with _asked("list its images"):
            listed = await self._docker.images.list()
            tagged = [(tag, image) for image in listed for tag in image.get("RepoTags") or ()]
            images = {tag: image["Id"] for tag, image in tagged}
            self._labels = {tag: image.get("Labels") or {} for tag, image in tagged}
        if changes == self._changes:
            self._images = images
        return images

    async def labels(self, image: str) -> Mapping[str, str]:
        """See `Engine.labels`."""
        await self.images()
        return self._labels.get(image, {})

    async def start(self, box: Box) -> DockerContainerSession:
        """See `Engine.start`."""
        return await self._created(self._start(box))

    async def open_space(self, box: Box, label: str) -> DockerSpace:
        """See `Engine.open_space`."""
        # Here, as it is a kind of session, and few servers are asked for one.
        from wsrunner.engines.docker.space import DockerSpace

        await self.refuse_elsewhere(label)

        async def start() -> DockerSpace:
            async with _asked("start a workspace", START_S):
                container = await self._create(box, lambda uid: self.space_config(box, uid, label))
                space = DockerSpace(self, container, box)
                await self._run_up(space, container, waits=True)
            return space

        return await self._created(start())

    async def refuse_elsewhere(self, label: str) -> None:
        """See `Engine.refuse_elsewhere`."""
        filters = json.dumps({"label": [f"{LABEL_SPACE}={label}"]})
        async with _asked("list its containers"):
            listed = await self._docker.containers.list(filters=filters)
            others = [entry["Labels"] for entry in listed if entry.id not in self._live]
        if others:
            raise SpaceElsewhereError(
                "the workspace of that name is on another server, "
                f"{others[0].get(LABEL_INSTANCE)!r}; connect to that one, or use another name",
                path="$.workspace",
            )

    async def _created(self, work: Coroutine[Any, Any, S]) -> S:
        """Have a container created; safe to cancel, as what comes of it is then removed."""
        creation = asyncio.create_task(work)
        self._creations.add(creation)
        creation.add_done_callback(self._creations.discard)
        try:
            return await asyncio.shield(creation)
        except asyncio.CancelledError:
            # The engine may be half way through: let it finish, then remove what came of it.
            creation.add_done_callback(self._discard)
            raise

    async def _start(self, box: Box) -> DockerContainerSession:
        async with _asked("start a container", START_S):
            container = await self._create(box, lambda uid: self.config(box, uid))
            session = DockerContainerSession(self, container, box)
            await self._run_up(session, container, waits=box.tty or box.ahead is not None)
        return session

    async def _run_up(
        self, session: DockerContainerSession, container: DockerContainer, *, waits: bool
    ) -> None:
        self._live[session.id] = session
        try:
            await session.attach()
            await container.start()
            if waits:
                await session.ready()
        except BaseException:
            await session.destroy()
            raise

    async def _create(self, box: Box, config: Callable[[int], dict[str, Any]]) -> DockerContainer:
        """Create a container as a user that no other container on this engine has."""
        uids = random.sample(self._uids, min(len(self._uids), UID_TRIES))
        for uid in uids:
            try:
                return await self._docker.containers.create(
                    config(uid), name=self.container_name(uid)
                )
            except aiodocker.DockerError as exc:
                if exc.status == _NOT_FOUND:
                    raise ImageMissingError(f"the engine has no image {box.image}") from exc
                if exc.status != _CONFLICT:
                    raise
        raise EngineUnavailableError(
            f"no user is free for a container: the engine has one for each of {len(uids)} out of "
            f"{self._uids[0]}-{self._uids[-1]} (--uids)",
            retry_after_s=RETRY_AFTER_S,
        )

    def container_name(self, uid: int) -> str:
        """Return the name of the container that runs as a user.

        The name is what keeps other containers, of this server or another, from that user: an
        engine refuses a second one of the same name (409) for as long as the first is there.
        """
        own = secrets.token_hex(6) if len(self._uids) == 1 else uid
        return f"wsrunner-{own}"

    def _discard(self, creation: asyncio.Task[Any]) -> None:
        if not creation.cancelled() and creation.exception() is None:
            asyncio.ensure_future(creation.result().destroy())  # noqa: RUF006 - kept in the session

    def config(self, box: Box, uid: int) -> dict[str, Any]:
        """Return the body of ``POST /containers/create``: every limit of the sandbox."""
        own = f"uid={uid},gid={uid},mode=0755"
        return {
            "Image": box.image,
            "Entrypoint": first_process(tty=box.tty, ahead=box.ahead),
            "User": f"{uid}:{uid}",
            "WorkingDir": WORK_DIR,
            "Env": [f"HOME={WORK_DIR}", "LANG=C.UTF-8", *(["TERM=xterm-256color"] * box.tty)],
            "Labels": {
                LABEL_INSTANCE: self._instance,
                LABEL_BOOT: self._boot,
                LABEL_LIFE_S: f"{self._life_s:g}",
            },
            "Hostname": "wsrunner",
            "Tty": box.tty,
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "NetworkDisabled": True,
            # When the engine stops: SIGTERM would reach the program and look like its own end.
            "StopSignal": "SIGKILL",
            "HostConfig": {
                "AutoRemove": True,
                "NetworkMode": "none",
                "Runtime": self._runtime,
                "LogConfig": {"Type": "none"},
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": self._security_options,
                "MaskedPaths": sandbox.MASKED,
                "ShmSize": TMP_BYTES,
                "Memory": box.memory_bytes,
                "MemorySwap": box.memory_bytes,
                "PidsLimit": box.pids,
                "NanoCpus": round(box.cpus * 1e9),
                "Tmpfs": {
                    "/tmp": f"rw,noexec,nosuid,nodev,size={TMP_BYTES},mode=1777",  # noqa: S108
                    WORK_DIR: f"rw,exec,nosuid,nodev,size={box.disk_bytes},{own}",
                },
                "Ulimits": [
                    {"Name": "core", "Soft": 0, "Hard": 0},
                    {"Name": "nofile", "Soft": NOFILE_MAX, "Hard": NOFILE_MAX},
                    {"Name": "fsize", "Soft": box.disk_bytes, "Hard": box.disk_bytes},
                ],
            },
        }

    def space_config(self, box: Box, uid: int, label: str) -> dict[str, Any]:
        """Return the same for a workspace: its first process is another user than its programs."""
        config = self.config(box, uid)
        config["Entrypoint"] = space_process(uid)
        config["User"] = "0:0"
        config["Labels"] |= {LABEL_SPACE: label, LABEL_LIFE_S: f"{SPACE_LIFE_S:g}"}
        host = config["HostConfig"]
        host["CapAdd"] = list(SPACE_CAPABILITIES)
        host["PidsLimit"] += SPACE_PIDS
        return config

    async def remove(self, container_id: str) -> None:
        """Kill and remove a container and wait until it is gone; fine if it is already.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        container = self._docker.containers.container(container_id)
        deadline_s = time.monotonic() + REMOVAL_S
        pause_s = REMOVAL_POLL_S
        async with _asked("remove a container", REMOVAL_S + ANSWER_S):
            while True:
                try:
                    await container.delete(force=True, v=True)
                except aiodocker.DockerError as exc:
                    if exc.status == _NOT_FOUND:
                        return
                    # Already on its way out, as AutoRemove does when the bootstrap has ended; or it
                    # ended between the engine's look and its kill, which then fails (500, "is not
                    # running") and takes the AutoRemove with it. Asked again, not waited for: a
                    # wait for "removed" that comes an instant too late is never answered. (All
                    # three seen with Docker 20.10, rarely.)
                    if time.monotonic() > deadline_s:
                        raise
                    await asyncio.sleep(pause_s)
                    pause_s = min(1.5 * pause_s, REMOVAL_POLL_MAX_S)
                else:
                    return

    async def cpu_ns(self, container_id: str) -> int | None:
        """Return the CPU time of a container as the engine tells it, which takes up to a second.

        Raises:
            EngineUnavailableError: The engine does not answer, or the container has ended.
        """
        async with _asked("say how much CPU time a container has used"):
            stats = await self._docker._query_json(  # noqa: SLF001 - its stats() knows no one-shot
                f"containers/{container_id}/stats", params={"stream": "false", "one-shot": "true"}
            )
            return usage.cpu_ns_told(stats)

    def forget(self, session: DockerContainerSession) -> None:
        """Take a destroyed container off the list of those in use."""
        self._live.pop(session.id, None)

    async def sweep(self) -> int:
        """See `Engine.sweep`.

        Removes what an earlier process of this instance left; of any instance, what never started
        or has ended, yet was not removed, and what has outlived the label that says how long it can
        be in use. An instance's death closes its containers' stdin, which ends the warm ones, and
        the bootstrap ends the others at their wall-clock limit, unless the program has killed its
        watchdog: those are left to the label.
        """
        filters = json.dumps({"label": [LABEL_INSTANCE]})
        async with _asked("list its containers"):
            listed = await self._docker.containers.list(all=True, filters=filters)
            stale = [entry.id for entry in listed if self._is_stale(entry)]
        for container_id in stale:
            await self.remove(container_id)
        if stale:
            log.info("removed %d containers left behind", len(stale))
        return len(stale)

    def _is_stale(self, entry: Any) -> bool:
        if entry.id in self._live:
            return False
        labels = entry["Labels"]
        age_s = time.time() - entry["Created"]
        old: bool = age_s > SWEEP_AGE_S
        if labels.get(LABEL_INSTANCE) == self._instance:
            return old or bool(labels.get(LABEL_BOOT) != self._boot)
        if age_s > _life_s(labels):
            return True
        return old and bool(entry["State"] != "running")

    async def end_of(self, container_id: str) -> Ended:
        """Say how a container ended, waiting for it a moment; see `Container.ended`.

        Asks for events, those of the past too (the engine keeps 256): a container that has ended is
        soon removed, and can't be asked then.

        Raises:
            EngineUnavailableError: The engine does not answer, or not for long any more.
        """
        filters = {"container": [container_id], "event": ["oom", "die"]}
        died = out_of_memory = False
        loop = asyncio.get_running_loop()
        async with _asked("say how a container ended"):
            with contextlib.suppress(TimeoutError):
                async with (
                    asyncio.timeout(END_KNOWN_S) as bound,
                    self._events(filters, "0") as lines,
                ):
                    async for line in lines:
                        event = json.loads(line)
                        if event["Action"] == "oom":
                            out_of_memory = True
                        elif int(event["Actor"]["Attributes"]["exitCode"]) == _KILLED:
                            died = True
                            bound.reschedule(loop.time() + OOM_EVENT_S)
                        else:
                            return Ended.LOST
                        if died and out_of_memory:
                            return Ended.OUT_OF_MEMORY
        if not died:
            return Ended.LOST
        # An engine that is stopping kills its containers, and still answers on connections it has.
        await self.ping()
        return Ended.KILLED

    async def _watch(self) -> None:
        """Follow the engine's events for ever; a broken stream means the engine went away."""
        filters = {"type": ["image"], "event": ["pull", "tag", "untag", "delete", "import", "load"]}
        while True:
            with contextlib.suppress(EngineUnavailableError):
                async with _asked("report events", None), self._events(filters) as lines:
                    self._watching.set()
                    self._changed()
                    async for _ in lines:
                        self._changed()
            if self._watching.is_set():
                log.warning("lost the container engine; trying again every %g s", RECONNECT_S)
            self._watching.clear()
            self._images = None
            await asyncio.sleep(RECONNECT_S)

    @contextlib.asynccontextmanager
    async def _events(
        self, filters: Mapping[str, Sequence[str]], since: str | None = None
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Follow the engine's events, a line of JSON each, from now or some time on."""
        params = {"filters": json.dumps(filters)} | ({"since": since} if since else {})
        timeout = aiohttp.ClientTimeout(sock_connect=5)
        # aiodocker's subscribe() hides a broken stream.
        events = self._docker._query("events", params=params, timeout=timeout)  # noqa: SLF001
        async with events as response:
            try:
                yield response.content
            finally:
                response.close()  # aiodocker leaves that to whoever asked

    def _changed(self) -> None:
        self._images = None
        self._changes += 1
        for listener in self._listeners:
            listener()


def _life_s(labels: Mapping[str, str]) -> float:
    """Return after how many seconds a container can't be in use any more, by its label."""
    try:
        return float(labels[LABEL_LIFE_S])
    except (KeyError, ValueError):
        return math.inf
