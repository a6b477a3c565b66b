"""Docker's images: list, pull, import.

Owns these calls of the Docker Engine API 1.41, through aiodocker, and honours DOCKER_HOST and the
Docker context. Must not know about languages, recipes or terminals.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer

from wsrunner.errors import EngineUnavailableError, ImageMissingError
from wsrunner.units import MIB

Docker = aiodocker.Docker
"""An open connection, for others to pass on without knowing aiodocker."""

NO_ENGINE = (
    "no container engine answers; `wsrunner setup --with-deps` installs and starts one, "
    "DOCKER_HOST names another"
)
READING_LABEL = "wsrunner.reading"
"""On a container that is never started: the image whose files are read from it."""
REGISTRY_TIMEOUT_S = 10.0
UNUSABLE = (ValueError, LookupError, TypeError, AttributeError)
"""What taking an answer apart raises that is not as the API says: no JSON, no UTF-8, other JSON."""
_CHUNK_BYTES = MIB
_CANT_CONNECT = 900
"""aiodocker's own status of a connection that could not be made."""


class PullProgress(NamedTuple):
    """How far one layer of an image is.

    Attributes:
        layer: The layer's short id.
        status: What the engine says: ``Downloading``, ``Extracting``, ``Pull complete``, …
        done_bytes: Bytes of this step; 0 where the engine counts none.
        total_bytes: Bytes that the step has in all; 0 if unknown.
    """

    layer: str
    status: str
    done_bytes: int
    total_bytes: int


class LocalImage(NamedTuple):
    """One image on the engine.

    Attributes:
        id: The image id.
        size_bytes: What it takes on disk, layers that it shares included.
        labels: Its labels.
    """

    id: str
    size_bytes: int
    labels: Mapping[str, str]


@contextlib.contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except aiodocker.DockerError as exc:
        if exc.status == _CANT_CONNECT:
            raise EngineUnavailableError(NO_ENGINE) from exc
        raise EngineUnavailableError(f"the engine says: {exc.message}") from exc
    except (aiohttp.ClientError, OSError, TimeoutError) as exc:
        raise EngineUnavailableError(f"the engine does not answer: {exc!r}") from exc
    except UNUSABLE as exc:
        raise EngineUnavailableError(f"the engine's answer is of no use: {exc!r}") from exc


@contextlib.asynccontextmanager
async def connect() -> AsyncIterator[Docker]:
    """Open a connection to the engine and check that it answers.

    Raises:
        EngineUnavailableError: None answers; the message says what to do.
    """
    try:
        docker = Docker(timeout=aiohttp.ClientTimeout(sock_connect=5))
    except (AssertionError, ValueError) as exc:
        # aiodocker asserts that a socket exists where DOCKER_HOST names none.
        raise EngineUnavailableError(NO_ENGINE) from exc
    async with docker:
        with _wrapped():
            async with asyncio.timeout(10):
                await docker.version()
        yield docker


async def images(docker: Docker) -> Mapping[str, LocalImage]:
    """Return the engine's tagged images by name with tag.

    Raises:
        EngineUnavailableError: The engine does not answer.
    """
    with _wrapped():
        return {
            tag: LocalImage(entry["Id"], entry["Size"], entry.get("Labels") or {})
            for entry in await docker.images.list()
            for tag in entry.get("RepoTags") or ()
        }


async def read_files(docker: Docker, image: str, paths: Sequence[str]) -> list[bytes]:
    """Return the content of files of an image, without starting anything of it.

    A path that leads to no file gives no bytes.

    Raises:
        EngineUnavailableError: The engine does not answer, or has no such image.
    """
    with _wrapped():
        container = await docker.containers.create(
            {"Image": image, "NetworkDisabled": True, "Labels": {READING_LABEL: image}}
        )
        try:
            return [await _read_file(container, path) for path in paths]
        finally:
            await container.delete(force=True)


async def _read_file(container: DockerContainer, path: str) -> bytes:
    try:
        with await container.get_archive(path) as tar:
            file = tar.extractfile(tar.getmembers()[0])
            return file.read() if file else b""
    except aiodocker.DockerError as exc:
        if exc.status == HTTPStatus.NOT_FOUND:
            return b""
        raise


async def registry_answers(docker: Docker, image: str) -> bool:
    """Whether the registry of `image` answers the engine at all, be it with a refusal.

    The engine is asked (``GET /distribution/{name}/json``), for it alone knows its proxies and
    mirrors. No answer in `REGISTRY_TIMEOUT_S` counts as none.
    """
    try:
        async with asyncio.timeout(REGISTRY_TIMEOUT_S):
            async with docker._query(f"distribution/{image}/json"):  # noqa: SLF001 - no public way
                return True
    except aiodocker.DockerError as exc:
        # 401, 403, 404: the registry spoke; 500 wraps its connection's failure.
        return exc.status < 500  # noqa: PLR2004
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def pull(docker: Docker, image: str) -> AsyncIterator[PullProgress]:
    """Pull an image, telling how far it is.

    Raises:
        ImageMissingError: The registry has no such image or refuses it.
        EngineUnavailableError: Registry or engine do not answer.
    """
    with _wrapped():
        try:
            async for event in docker.images.pull(image, stream=True):
                detail = event.get("progressDetail") or {}
                yield PullProgress(
                    event.get("id", ""),
                    event.get("status", ""),
                    detail.get("current") or 0,
                    detail.get("total") or 0,
                )
        except aiodocker.DockerError as exc:
            if exc.status in {0, 401, 403, 404}:
                raise ImageMissingError(f"can't pull {image}: {exc.message}") from exc
            raise


async def import_tar(
    docker: Docker,
    path: Path,
    image: str,
    changes: Sequence[str] = (),
    *,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Make an image of one layer from a root directory's tar file.

    Args:
        docker: An open connection.
        path: The tar file.
        image: Name with tag.
        changes: Dockerfile instructions such as ``USER glot``.
        on_bytes: Called with the number of bytes sent so far.

    Raises:
        EngineUnavailableError: The engine does not take it.
    """

    async def chunks() -> AsyncIterator[bytes]:
        sent = 0
        with path.open("rb") as file:
            while data := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                yield data
                sent += len(data)
                on_bytes(sent)

    repo, _, tag = image.rpartition(":")
    params: dict[str, str | list[str]] = {"fromSrc": "-", "repo": repo, "tag": tag}
    if changes:
        # The API takes the parameter repeatedly; as one, instructions are told apart by newlines.
        params["changes"] = "\n".join(changes)
    with _wrapped():
        async with docker._query(  # noqa: SLF001 - aiodocker has load, but no import
            "images/create",
            "POST",
            params=params,
            data=chunks(),
            headers={"Content-Type": "application/x-tar"},
            timeout=aiohttp.ClientTimeout(),
        ) as response:
            async for line in response.content:
                if b'"error"' in line:
                    text = line.decode(errors="replace").strip()
                    raise EngineUnavailableError(f"the engine can't import {image}: {text}")
