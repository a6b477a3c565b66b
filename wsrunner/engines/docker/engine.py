"""The Docker engine: which containers there are, and which images.

Formats and options are those of the Docker Engine API 1.41 (Docker 20.10 and later). What a
container may do is `config`'s, what is said with one is `session`'s. Must not know about runs,
languages or sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import random
import secrets
import signal as signals
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer

from wsrunner.engines.base import Box, Ended, Left
from wsrunner.engines.docker import sandbox, usage
from wsrunner.engines.docker.asked import ANSWER_S, RETRY_AFTER_S, asked, connect
from wsrunner.engines.docker.config import (
    LABEL_BOOT,
    LABEL_INSTANCE,
    LABEL_LASTS_S,
    LABEL_LIFE_S,
    Config,
)
from wsrunner.engines.docker.session import DockerContainerSession
from wsrunner.errors import EngineUnavailableError, ImageMissingError

if TYPE_CHECKING:
    from wsrunner.engines.docker.space import DockerSpace

log = logging.getLogger(__name__)

S = TypeVar("S")

RECONNECT_S = 0.5
START_S = 60.0
UID_TRIES = 100
"""Users that are drawn for a container until one is free."""
END_KNOWN_S = 5.0
"""How long after a stream's end the container's own end may come. It takes 30 ms, or more on a busy
machine; one that still runs then has lost its stream."""
OOM_EVENT_S = 0.5
"""How long after the container's end the report of an out-of-memory kill may come."""
REMOVAL_S = 30.0
REMOVAL_POLL_S = 0.01
REMOVAL_POLL_MAX_S = 0.5
SWEEP_AGE_S = 300

_NOT_FOUND = 404
_CONFLICT = 409
_KILLED = 128 + signals.SIGKILL


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
        self._uids = uids
        self.config = Config(
            instance=instance,
            boot=secrets.token_hex(8),
            life_s=life_s,
            runtime=runtime,
            security_options=sandbox.security_options(sandbox.seccomp_profile(seccomp)),
        )
        self._docker: aiodocker.Docker
        self._live: dict[str, DockerContainerSession] = {}
        self._seen_s: dict[str, float] = {}  # others, by when they were seen first
        self._creations: set[asyncio.Task[Any]] = set()
        self._listeners: list[Callable[[], None]] = []
        self._images: dict[str, str] | None = None
        self._labels: dict[str, Mapping[str, str]] = {}  # as of the last time they were listed
        self._changes = 0
        self._watcher: asyncio.Task[None] | None = None
        self._watching = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._docker = connect()
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
        async with asked("answer"), connect() as docker, docker._query("_ping"):  # noqa: SLF001
            pass

    async def name(self) -> str:
        """See `Engine.name`."""
        async with asked("say who it is"):
            return str((await self._docker.system.info())["ID"])

    async def images(self) -> Mapping[str, str]:
        """See `Engine.images`. Asked again only after the engine reported a change."""
        # Without the event stream a change would go unnoticed, so nothing is kept then.
        if self._images is not None and self._watching.is_set():
            return self._images
        changes = self._changes
        async with asked("list its images"):
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

    async def open_space(self, box: Box, label: str, lasts_s: float | None = None) -> DockerSpace:
        """See `Engine.open_space`."""
        # Here, as it is a kind of session, and few servers are asked for one.
        from wsrunner.engines.docker.space import DockerSpace

        def config(uid: int) -> dict[str, Any]:
            return self.config.of_space(box, uid, label, lasts_s)

        async def start() -> DockerSpace:
            async with asked("start a workspace", START_S):
                container = await self._create(box, config)
                space = DockerSpace(self, container, box, lasts_s)
                await self._run_up(space, container, waits=True)
            return space

        return await self._created(start())

    async def resume_space(self, box: Box, left: Left, lasts_s: float) -> DockerSpace | None:
        """See `Engine.resume_space`."""
        from wsrunner.engines.docker.space import DockerSpace

        container = self._docker.containers.container(left.id)
        space = DockerSpace(self, container, box, lasts_s)
        self._live[space.id] = space
        try:
            async with asked("connect to a workspace"):
                try:
                    await space.resume(left)
                except aiodocker.DockerError as exc:
                    if exc.status not in {_NOT_FOUND, _CONFLICT}:
                        raise
                    self.forget(space)
                    return None
        except BaseException:
            # It is as it was, and may yet be gone on with.
            space.leave()
            raise
        return space

    async def end_space(self, left: Left) -> None:
        """See `Engine.end_space`."""
        try:
            await self.remove(left.id)
        except EngineUnavailableError as exc:
            log.warning("workspace %s is left to itself: %s", left.id[:12], exc)

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
        async with asked("start a container", START_S):
            container = await self._create(box, lambda uid: self.config.of_run(box, uid))
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

    async def remove(self, container_id: str) -> None:
        """Kill and remove a container and wait until it is gone; fine if it is already.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        container = self._docker.containers.container(container_id)
        deadline_s = time.monotonic() + REMOVAL_S
        pause_s = REMOVAL_POLL_S
        async with asked("remove a container", REMOVAL_S + ANSWER_S):
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
        async with asked("say how much CPU time a container has used"):
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
        watchdog: those are left to the label. Workspaces that outlast their server end by
        themselves. How old a container is counts from when this sweep
        saw it first.
        """
        filters = json.dumps({"label": [LABEL_INSTANCE]})
        async with asked("list its containers"):
            listed = await self._docker.containers.list(all=True, filters=filters)
            now_s = time.monotonic()
            self._seen_s = {entry.id: self._seen_s.get(entry.id, now_s) for entry in listed}
            stale = [entry.id for entry in listed if self._is_stale(entry, now_s)]
        for container_id in stale:
            await self.remove(container_id)
        if stale:
            log.info("removed %d containers left behind", len(stale))
        return len(stale)

    def _is_stale(self, entry: Any, now_s: float) -> bool:
        if entry.id in self._live:
            return False
        labels = entry["Labels"]
        # Not since when it was created: by a clock that is set meanwhile, all would be old.
        age_s = now_s - self._seen_s[entry.id]
        if LABEL_LASTS_S in labels and entry["State"] == "running":
            # It ends by itself, and may be another server's by now.
            return age_s > _life_s(labels)
        old: bool = age_s > SWEEP_AGE_S
        if labels.get(LABEL_INSTANCE) == self.config.instance:
            return old or bool(labels.get(LABEL_BOOT) != self.config.boot)
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
        async with asked("say how a container ended"):
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
                async with asked("report events", None), self._events(filters) as lines:
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
