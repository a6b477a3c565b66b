"""Asking the Docker engine: connections to it, and what its silence and its errors become."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiodocker
import aiohttp

from wsrunner.engines.docker.images import UNUSABLE
from wsrunner.errors import EngineUnavailableError

ANSWER_S = 10.0
"""How long the engine may take over small things, before it counts as hung."""
RETRY_AFTER_S = 2.0


@contextlib.asynccontextmanager
async def asked(doing: str, timeout_s: float | None = ANSWER_S) -> AsyncIterator[None]:
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


def connect() -> aiodocker.Docker:
    """Return a client of the engine, which connects when it is first asked something.

    Raises:
        EngineUnavailableError: Nothing says where an engine is.
    """
    try:
        return aiodocker.Docker(timeout=aiohttp.ClientTimeout(sock_connect=5))
    except (AssertionError, ValueError) as exc:
        raise EngineUnavailableError(
            "no Docker engine found: neither DOCKER_HOST nor /run/docker.sock; "
            "`wsrunner setup --with-deps` installs and starts one"
        ) from exc
