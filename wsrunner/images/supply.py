"""Images of languages and services: which are present, pulling them, building local ones.

Owns the decision between registry and local build. The engine's side is `engines.docker_images`,
the file systems come from `debian`. Must not import click; shows what it does on a `Progress`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from wsrunner.engines.docker import images as docker_images
from wsrunner.engines.docker.images import Docker, LocalImage
from wsrunner.errors import EngineUnavailableError, ImageMissingError, SetupError
from wsrunner.images import archives, contents
from wsrunner.images.debian import Debian
from wsrunner.images.services import Service
from wsrunner.languages import Catalogue, Language, Recipe, image_base
from wsrunner.settings import UIDS

if TYPE_CHECKING:
    from wsrunner.images.progress import Progress, Task

BUILDS_AT_ONCE = 2
PULLS_AT_ONCE = 2
RECIPE_LABEL = "wsrunner.recipe"

# PATH is the default of Docker itself, which `import` leaves out. Without a UTF-8 locale Ruby, Perl
# and Java take their input and output for ASCII.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHANGES = (
    "USER glot",
    "WORKDIR /home/glot",
    f"ENV PATH={_PATH} HOME=/home/glot LANG=C.UTF-8",
    'CMD ["bash"]',
)
NAME_USERS = (
    f"seq {UIDS[0]} {UIDS[-1]} | sed 's|.*|glot:x:&:&::/home/glot:/bin/bash|' >>/etc/passwd",
    f"seq {UIDS[0]} {UIDS[-1]} | sed 's|.*|glot:x:&:|' >>/etc/group",
)
"""Name whatever user a run gets as the glot images name theirs: programs ask (getpwuid), and some
fail without an answer."""
SERVICE_CHANGES = (f"ENV PATH={_PATH} LANG=C.UTF-8", 'CMD ["bash"]')


class _Build(NamedTuple):
    image: str
    recipe: Recipe
    changes: tuple[str, ...]
    added: tuple[str, ...] = ()


class Status(NamedTuple):
    """Whether a language can run on this engine.

    Attributes:
        language: The language.
        image: The image that will be used; None if none of its images is present.
        size_bytes: The image's size; 0 if none.
        outdated: Whether the image was built locally by another recipe than today's.
        added: Packages that were added to the recipe.
    """

    language: Language
    image: str | None
    size_bytes: int
    outdated: bool
    added: tuple[str, ...] = ()


@asynccontextmanager
async def engine() -> AsyncIterator[Docker]:
    """Open a connection to the engine.

    Raises:
        SetupError: None answers; the message says what to do.
    """
    try:
        async with docker_images.connect() as docker:
            yield docker
    except EngineUnavailableError as exc:
        raise SetupError(str(exc)) from exc


def statuses(catalogue: Catalogue, present: Mapping[str, LocalImage]) -> list[Status]:
    """Return each language's status, in the catalogue's order."""
    found = []
    for language in catalogue:
        image = language.choose(present)
        if image is None:
            found.append(Status(language, None, 0, outdated=False))
            continue
        recipe = catalogue.recipe(language)
        labels = present[image].labels
        added = contents.added_to(labels)
        outdated = (
            recipe is not None
            and image == language.local_image
            and labels.get(RECIPE_LABEL) != recipe_id(contents.extended(in_full(recipe), added))
        )
        size_bytes = present[image].size_bytes
        found.append(Status(language, image, size_bytes, outdated=outdated, added=added))
    return found


def in_full(recipe: Recipe) -> Recipe:
    """Return a language's recipe with what every language's image has."""
    return msgspec.structs.replace(recipe, commands=(*recipe.commands, *NAME_USERS))


def recipe_id(recipe: Recipe) -> str:
    """Return a short name of what the recipe makes, kept as a label on the image."""
    content: dict[str, object] = {"packages": recipe.packages, "commands": recipe.commands}
    if recipe.archives:
        content["archives"] = recipe.archives
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]


def select(catalogue: Catalogue, names: Iterable[str]) -> list[Language]:
    """Return the languages with these names, each once, in the order given.

    Raises:
        UnknownLanguageError: A name is unknown.
    """
    return list({found.id: found for found in map(catalogue.find, names)}.values())


async def pull(docker: Docker, languages: Sequence[Language], progress: Progress) -> None:
    """Pull the preferred image of each language, present or not.

    Raises:
        SetupError: The registry does not answer, or not all could be pulled; the message names
            them and the way out.

    Cancelling is safe: the engine keeps the layers it has.
    """
    images = list({language.image: language for language in languages})
    if not await docker_images.registry_answers(docker, images[0]):
        raise SetupError(
            f"no registry answers for {images[0]}"
            + _build_instead([one for one in languages if one.local_image])
        )
    slots = asyncio.Semaphore(PULLS_AT_ONCE)
    failed: dict[str, str] = {}

    async def one(image: str) -> None:
        async with slots:
            try:
                await _pull(docker, image, progress)
            except (ImageMissingError, EngineUnavailableError) as exc:
                failed[image] = str(exc)

    async with asyncio.TaskGroup() as group:
        for image in images:
            group.create_task(one(image))
    if failed:
        builders = [one for one in languages if one.image in failed and one.local_image]
        raise SetupError("\n  ".join(failed.values()) + _build_instead(builders))


def _build_instead(languages: Sequence[Language]) -> str:
    if not languages:
        return ""
    names = " ".join(language.id for language in languages[:8])
    return f"; `wsrunner images build {names}` makes local images from Debian packages"


async def _pull(docker: Docker, image: str, progress: Progress) -> None:
    task = progress.task(image, "pulling")
    layers: dict[str, tuple[int, int]] = {}
    result = "failed"
    try:
        async for event in docker_images.pull(docker, image):
            if event.status == "Downloading":
                layers[event.layer] = event.done_bytes, event.total_bytes
                sizes = layers.values()
                task.advance(sum(done for done, _ in sizes), sum(total for _, total in sizes))
            elif event.status in {"Extracting", "Verifying Checksum"}:
                task.stage("unpacking" if event.status == "Extracting" else "verifying")
        result = "pulled"
    finally:
        task.end(result)


async def build(
    docker: Docker,
    catalogue: Catalogue,
    languages: Sequence[Language],
    progress: Progress,
    *,
    only_missing: bool = False,
    added: Sequence[str] = (),
) -> None:
    """Build the local images of these languages from Debian packages.

    Args:
        docker: The engine that gets them.
        catalogue: Has the recipes.
        languages: For which languages.
        progress: Where stages show.
        only_missing: Leave images alone that are present once it is this process's turn.
        added: Further Debian packages for each.

    Raises:
        SetupError: A language has no recipe, the machine lacks something, or builds failed; the
            others are finished first.

    Cancelling is safe: the work is undone.
    """
    without = [language for language in languages if not language.local_image]
    if without:
        raise SetupError(
            f"no recipe builds an image for {', '.join(language.id for language in without)}; "
            f"`wsrunner images pull {without[0].id}` gets {without[0].image}"
        )
    builds = [
        _Build(
            image,
            contents.extended(in_full(catalogue.recipes[image_base(image)]), added),
            CHANGES,
            tuple(dict.fromkeys(added)),
        )
        for image in dict.fromkeys(language.local_image for language in languages)
    ]
    await _build_all(docker, builds, progress, only_missing=only_missing)


def missing_services(
    services: Iterable[Service], present: Mapping[str, LocalImage]
) -> list[Service]:
    """Return the services whose local image is absent, or of another recipe than today's."""
    missing = []
    for service in services:
        image = present.get(service.local_image)
        if image is None or image.labels.get(RECIPE_LABEL) != recipe_id(service.recipe):
            missing.append(service)
    return missing


async def build_services(docker: Docker, services: Sequence[Service], progress: Progress) -> None:
    """Build the local images of services from Debian packages, present or not.

    Args:
        docker: The engine that gets them.
        services: Which.
        progress: Where stages show.

    Raises:
        SetupError: The machine lacks something, or builds failed; the others are finished first.

    Cancelling is safe: the work is undone.
    """
    builds = [_Build(one.local_image, one.recipe, SERVICE_CHANGES) for one in services]
    await _build_all(docker, builds, progress, only_missing=False)


async def _build_all(
    docker: Docker,
    builds: Sequence[_Build],
    progress: Progress,
    *,
    only_missing: bool,
) -> None:
    """Build these, `BUILDS_AT_ONCE` at a time; see `build`."""
    # The largest takes longest: begun last, it would keep one core busy and the other waiting.
    builds = sorted(builds, key=lambda build: (-build.recipe.size_mb, build.image))
    slots = asyncio.Semaphore(BUILDS_AT_ONCE)
    failed: dict[str, str] = {}

    def waiting() -> None:
        progress.say("waiting for another build on this machine")

    async with Debian(waiting) as debian:
        if only_missing:
            present = await docker_images.images(docker)
            builds = [build for build in builds if build.image not in present]

        async def one(build: _Build) -> None:
            async with slots:
                task = progress.task(build.image, "starting")
                try:
                    await _build(docker, debian, build, task)
                except (SetupError, EngineUnavailableError) as exc:
                    failed[build.image] = str(exc)

        async with asyncio.TaskGroup() as group:
            for build in builds:
                group.create_task(one(build))
    if failed:
        raise SetupError(
            "\n".join(f"can't build {image}: {reason}" for image, reason in failed.items())
        )


async def _build(docker: Docker, debian: Debian, build: _Build, task: Task) -> None:
    image, recipe = build.image, build.recipe
    result = "failed"
    try:
        unpacking = [
            archives.unpacking(one, await archives.fetch(one, debian.downloads, task.stage))
            for one in recipe.archives
        ]
        tar = await debian.root(
            image_base(image), recipe.packages, recipe.commands, task.stage, unpacking
        )
        size_bytes = tar.stat().st_size
        task.stage("importing")
        has = await asyncio.to_thread(contents.installed, tar)
        changes = (
            *build.changes,
            *contents.changes(build.added, has),
            f"LABEL {RECIPE_LABEL}={recipe_id(recipe)}",
        )
        await docker_images.import_tar(
            docker, tar, image, changes, on_bytes=lambda sent: task.advance(sent, size_bytes)
        )
        tar.unlink()
        result = f"built, {size_bytes / 1e6:.0f} MB"
    finally:
        task.end(result)


async def prepare(
    docker: Docker,
    catalogue: Catalogue,
    languages: Sequence[Language],
    progress: Progress,
    *,
    before_build: Callable[[Sequence[Language]], Awaitable[None]],
) -> None:
    """Get an image for each language that has none: pull if a registry answers, else build.

    Args:
        docker: The engine that gets them.
        catalogue: Has the recipes.
        languages: Those that need an image.
        progress: Where stages show.
        before_build: Awaited before the first build, with those to build; gets the tools for it.

    Raises:
        SetupError: Some have none afterwards; the message says why.
    """
    present = await docker_images.images(docker)
    missing = [language for language in languages if language.choose(present) is None]
    if not missing:
        return
    if await docker_images.registry_answers(docker, missing[0].image):
        try:
            await pull(docker, missing, progress)
        except SetupError as exc:
            progress.say(str(exc))
        present = await docker_images.images(docker)
        missing = [language for language in missing if language.choose(present) is None]
    else:
        progress.say(f"no registry answers for {missing[0].image}: building local images")
    if missing:
        await before_build(missing)
        await build(docker, catalogue, missing, progress, only_missing=True)
