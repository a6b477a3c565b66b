"""What a server stands on, engine and gate, opened while it listens already.

Owns that order. Their libraries take as long to load as everything else that a first socket needs,
and an engine may take its time; who comes meanwhile waits in `LateEngine` and `LateGate`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from importlib import import_module

from wsrunner.engines.late import LateEngine
from wsrunner.errors import EngineUnavailableError, GateUnavailableError, SetupError
from wsrunner.gates import open_gate
from wsrunner.gates.late import LateGate
from wsrunner.runs.host import Host
from wsrunner.settings import uid_range

LOCAL_ENGINE = "local"
"""The gate's name for the engine of a server that shares no gate."""
_ENGINE_MODULE = "wsrunner.engines.docker.engine"
_GATE_MODULE = "wsrunner.gates.redis"


async def open_ground(
    host: Host,
    engine: LateEngine,
    gate: LateGate,
    closing: contextlib.AsyncExitStack,
    *,
    instance: str,
    life_s: float,
) -> None:
    """Open engine and gate and give them to `host` and to all who wait for them.

    Args:
        host: Starts runs.
        engine: Arrives when the engine has answered once, or has not when it should.
        gate: Arrives after that: it may have to know which engine this is.
        closing: Takes what is to be closed at the end.
        instance: The server's name.
        life_s: See `DockerEngine`.

    Raises:
        SetupError: They can't be opened; the message says why.

    Cancelling is safe.
    """
    settings = host.settings
    shared = bool(settings.redis_url)
    # In a thread: it takes the time of many answers.
    await asyncio.to_thread(_load, [_ENGINE_MODULE, *[_GATE_MODULE] * shared])
    from wsrunner.engines.docker.engine import DockerEngine

    try:
        docker = await closing.enter_async_context(
            DockerEngine(
                instance=instance,
                uids=uid_range(settings.uids),
                runtime=settings.runtime,
                seccomp=settings.seccomp,
                life_s=life_s,
            )
        )
        if shared:
            # Replicas may share an engine or have their own: its own id says which.
            host.engine_name = await docker.name()
        else:
            # One that is away may come back: runs are told until it does.
            with contextlib.suppress(EngineUnavailableError):
                await docker.ping()
        host.engine = docker
        engine.arrive(docker)
        host.gate = await closing.enter_async_context(
            open_gate(settings, instance, host.engine_name)
        )
        gate.arrive(host.gate)
    except (EngineUnavailableError, GateUnavailableError) as exc:
        raise SetupError(exc.message) from exc
    host.starting = False


def _load(modules: list[str]) -> None:
    for module in modules:
        import_module(module)


@contextlib.asynccontextmanager
async def beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do some work while the block runs, which its failure ends; stop it at the block's end.

    Raises:
        Exception: What the work raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            yield
            task.cancel()
    except BaseExceptionGroup as exc:
        # The work's, or else the block's own.
        raise exc.exceptions[0] from None
