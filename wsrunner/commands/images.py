"""``wsrunner languages``, ``images`` and ``setup``: what this machine can run, what it lacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

import click

from wsrunner import settings
from wsrunner.errors import EngineUnavailableError, SetupError, UnknownLanguageError

if TYPE_CHECKING:
    from wsrunner.engines.docker.images import Docker, LocalImage
    from wsrunner.languages import Catalogue, Language


def _catalogue() -> Catalogue:
    from wsrunner import languages

    return languages.load(settings.load(environ=os.environ).languages)


def _select(catalogue: Catalogue, names: Sequence[str]) -> list[Language]:
    from wsrunner.images import supply

    try:
        return supply.select(catalogue, names)
    except UnknownLanguageError as exc:
        raise SetupError(f"{exc}; `wsrunner languages` lists them") from exc


async def _present() -> Mapping[str, LocalImage] | None:
    """Return the engine's images; None if no engine answers."""
    from wsrunner.engines.docker import images as docker_images

    try:
        async with docker_images.connect() as docker:
            return await docker_images.images(docker)
    except EngineUnavailableError:
        return None


@click.command("languages")
@click.option("--json", "as_json", is_flag=True, help="As JSON, like GET /v1/languages.")
def languages_command(*, as_json: bool) -> None:
    """List all languages, their names, and whether their image is present."""
    import asyncio

    catalogue = _catalogue()
    present = asyncio.run(_present())
    if as_json:
        import msgspec

        facts = [language.facts(present) for language in catalogue]
        click.echo(msgspec.json.format(msgspec.json.encode(facts)).decode())
        return
    rows = [
        (
            language.id,
            language.name,
            ", ".join(language.aliases),
            language.choose(present or ()) or language.image,
            _answer(None if present is None else language.choose(present) is not None),
        )
        for language in catalogue
    ]
    _table(("language", "name", "aliases", "image", "present"), rows)
    if present is None:
        click.echo("no container engine answers, so which images are present is unknown", err=True)


@click.group("images", invoke_without_command=True)
@click.pass_context
def images_group(context: click.Context) -> None:
    """Show, pull or build the languages' images; without a command, show."""
    if context.invoked_subcommand is None:
        import asyncio

        asyncio.run(_show_images())


async def _show_images() -> None:
    from wsrunner.engines.docker import images as docker_images
    from wsrunner.images import supply

    catalogue = _catalogue()
    async with supply.engine() as docker:
        statuses = supply.statuses(catalogue, await docker_images.images(docker))
    rows = []
    missing = []
    for status in statuses:
        language = status.language
        if status.image is None:
            missing.append(language)
            continue
        added = f" --with {' '.join(status.added)}" if status.added else ""
        note = f"rebuild: wsrunner images build {language.id}{added}" if status.outdated else ""
        rows.append((language.id, status.image, f"{status.size_bytes / 1e6:.0f} MB", note))
    _table(("language", "image", "size", ""), rows)
    if missing:
        pull = " ".join(language.id for language in missing)
        build = " ".join(language.id for language in missing if language.local_image)
        click.echo("")
        click.echo(f"Missing; from a registry:  wsrunner images pull {pull}")
        click.echo(f"or local, from Debian:     wsrunner images build {build}")


def _language_arguments(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--all", "everything", is_flag=True, help="All languages.")(command)
    return click.argument("names", metavar="LANGUAGE...", nargs=-1)(command)


@images_group.command("pull")
@_language_arguments
def images_pull(names: tuple[str, ...], *, everything: bool) -> None:
    """Pull the images of languages from their registry."""
    import asyncio

    from wsrunner.images import progress, supply

    catalogue = _catalogue()
    languages = list(catalogue) if everything else _select(catalogue, names)
    if not languages:
        raise click.UsageError("name a language, or --all")

    async def pull() -> None:
        async with supply.engine() as docker:
            with progress.show() as display:
                await supply.pull(docker, languages, display)

    asyncio.run(pull())


class _BuildCommand(click.Command):
    """Takes all words after ``--with``, up to the next option, for its packages."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own: list[str] = []
        taking = False
        for word in args:
            if word.startswith("-"):
                taking = word == "--with"
                own += [] if taking else [word]
            else:
                own += ["--with", word] if taking else [word]
        return super().parse_args(ctx, own)


@images_group.command("build", cls=_BuildCommand)
@click.option(
    "--with",
    "added",
    multiple=True,
    metavar="PACKAGE...",
    help="Debian packages to add, such as python3-numpy.",
)
@_language_arguments
def images_build(names: tuple[str, ...], *, everything: bool, added: tuple[str, ...]) -> None:
    """Build local images of languages from Debian packages; --all: wherever that is possible.

    An image that has packages added keeps them only as long as each build names them.

    Kotlin's and Zig's compilers are downloaded by npm and pip, as these are set up.
    """
    import asyncio

    from wsrunner.images import contents, progress, supply

    contents.check(added)
    catalogue = _catalogue()
    languages = (
        [language for language in catalogue if language.local_image]
        if everything
        else _select(catalogue, names)
    )
    if not languages:
        raise click.UsageError("name a language, or --all")

    async def build() -> None:
        async with supply.engine() as docker:
            with progress.show() as display:
                await supply.build(docker, catalogue, languages, display, added=added)

    asyncio.run(build())


@images_group.command("packages")
@click.argument("name", metavar="LANGUAGE")
def images_packages(name: str) -> None:
    """List the Debian packages that a language's image has, beside the base system."""
    import asyncio

    from wsrunner.images import contents, supply

    async def found() -> tuple[str, LocalImage]:
        async with supply.engine() as docker:
            return await _image_of(docker, name)

    image, facts = asyncio.run(found())
    packages = contents.packages_of(facts.labels)
    if packages is None:
        raise SetupError(
            f"{image} does not say what it has; images that `wsrunner images build` makes do"
        )
    _table(("package", "version"), packages)


@images_group.command("sbom")
@click.option(
    "-o",
    "--output",
    type=click.File("wb", lazy=True),
    default="-",
    metavar="FILE",
    help="Write it there rather than to the standard output.",
)
@click.argument("name", metavar="LANGUAGE")
def images_sbom(name: str, output: BinaryIO) -> None:
    """Write the bill of materials of a language's image: all its Debian packages, as CycloneDX.

    The base system's packages are among them. Nothing of the image is started.
    """
    import asyncio

    from wsrunner.engines.docker import images as docker_images
    from wsrunner.images import sbom, supply

    async def read() -> tuple[str, str, list[bytes]]:
        async with supply.engine() as docker:
            image, facts = await _image_of(docker, name)
            paths = (sbom.STATUS_PATH, sbom.RELEASE_PATH)
            return image, facts.id, await docker_images.read_files(docker, image, paths)

    image, image_id, files = asyncio.run(read())
    status, release = (content.decode(errors="replace") for content in files)
    if not status:
        raise SetupError(f"{image} has no {sbom.STATUS_PATH}: it is not made of Debian packages")
    output.write(sbom.bill(image, image_id, status, release) + b"\n")


async def _image_of(docker: Docker, name: str) -> tuple[str, LocalImage]:
    """Return the name of the image that a language would use, and the engine's facts of it."""
    from wsrunner.engines.docker import images as docker_images

    (language,) = _select(_catalogue(), [name])
    images = await docker_images.images(docker)
    image = language.choose(images)
    if image is None:
        raise SetupError(f"no image of {language.id} is present: `wsrunner images` says more")
    return image, images[image]


@images_group.command("services")
@click.option("--local", is_flag=True, help="Local images, without asking a registry.")
@click.option("--rebuild", is_flag=True, help="Build present local images again (updates).")
@click.option("--with-deps", is_flag=True, help="Install what builds need; needs root.")
def images_services(*, local: bool, rebuild: bool, with_deps: bool) -> None:
    """Print which images compose.yml is to use, as lines for its .env file.

    Those of a registry where one answers, which compose pulls itself; else local images, which are
    built now from Debian packages unless they are present.
    """
    import asyncio

    from wsrunner.commands import provision
    from wsrunner.images import progress

    with progress.show() as display:
        chosen = asyncio.run(
            provision.services(display, local=local, rebuild=rebuild, with_deps=with_deps)
        )
    for variable, image in chosen.items():
        click.echo(f"{variable}={image}")


@click.command("setup")
@click.option("--with-deps", is_flag=True, help="Install and start what is missing; needs root.")
@click.argument("names", metavar="[LANGUAGE]...", nargs=-1)
def setup_command(names: tuple[str, ...], *, with_deps: bool) -> None:
    """Check that everything is ready to run these languages, or make it so.

    Without LANGUAGE: python, javascript, c, cpp and bash. An engine that runs already is left as it
    is, and so are images that are present. Compiles wsrunner's own modules, so that servers start
    at once whoever runs them.
    """
    import asyncio

    from wsrunner.commands import bytecode, provision
    from wsrunner.images import progress

    bytecode.compile_ahead()
    catalogue = _catalogue()
    languages = _select(catalogue, names or provision.DEFAULT_LANGUAGES)
    with progress.show() as display:
        asyncio.run(provision.prepare(catalogue, languages, display, with_deps=with_deps))
    click.echo(f"ready: {', '.join(language.id for language in languages)}", err=True)


def _answer(value: bool | None) -> str:  # noqa: FBT001 - it is the thing to format
    return "?" if value is None else "yes" if value else "no"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; plain text, so that it can be cut and grepped."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
