"""The command ``wsrunner``: serve, run, setup, images, languages, monitor, slots.

Owns arguments, terminal output and exit codes; the work is done by the modules below. Heavy imports
stay inside the commands, so that ``--help`` and ``serve`` start at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsrunner import __version__, settings
from wsrunner.address import DEFAULT_URL
from wsrunner.errors import EngineUnavailableError, SetupError, UnknownLanguageError

if TYPE_CHECKING:
    from wsrunner.engines.docker.images import LocalImage
    from wsrunner.gates.redis import Operator
    from wsrunner.languages import Catalogue, Language


URL_HELP = (
    "The server: ws, wss, http or https URL, or host:port.  [WSRUNNER_URL]  "
    f"[default: {DEFAULT_URL}]"
)


class _Commands(click.Group):
    """Shows a `SetupError` as one line instead of a traceback; exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SetupError as exc:
            click.echo(f"wsrunner: {exc}", err=True)
            sys.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wsrunner")
def main() -> None:
    """Run code in throw-away containers and stream its output over a WebSocket."""


def _settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add one option per declared setting, none with a default of click's own."""
    for setting in reversed(list(settings.declared())):
        default = "" if setting.default in ("", (), None) else f"  [default: {setting.default}]"
        text = f"{setting.help}  [{setting.variable}]{default}"
        if setting.type is bool:
            flags = f"{setting.option}/--no-{setting.option[2:]}"
            command = click.option(flags, setting.name, default=None, help=text)(command)
        else:
            many = setting.type is tuple
            command = click.option(
                setting.option,
                setting.name,
                multiple=many,
                default=None,
                metavar=setting.type.__name__.upper() if not many else "TEXT",
                help=text,
            )(command)
    return command


@main.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file of settings (WSRUNNER_CONFIG).",
)
@_settings_options
def serve(config: Path | None, **options: Any) -> None:
    """Serve runs over WebSocket until SIGTERM or Ctrl-C.

    Every option is also a variable and a key of the TOML file; options win over variables,
    variables over the file.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    chosen = settings.load(given, os.environ, config)
    from wsrunner.serving import server

    server.serve(chosen)


class _RunCommand(click.Command):
    """Keeps what comes after ``--`` apart: those are the program's arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, rest = args, []
        if "--" in args:
            at = args.index("--")
            own, rest = args[:at], args[at + 1 :]
        parsed = super().parse_args(ctx, own)
        ctx.params["args"] = tuple(rest)
        return parsed


@main.command("run", cls=_RunCommand)
@click.argument("files", metavar="[FILE|-]... [-- ARG...]", nargs=-1)
@click.option("-l", "--language", help="Language id or alias; guessed from the file if left out.")
@click.option("-c", "--code", help="Source text, in place of a main file.")
@click.option("--url", envvar="WSRUNNER_URL", default=DEFAULT_URL, help=URL_HELP)
@click.option("--token", envvar="WSRUNNER_TOKEN", help="Access token.  [WSRUNNER_TOKEN]")
@click.option(
    "--stdin",
    type=click.Path(path_type=Path),
    help="File to give the program as stdin; - for the command's own.",
)
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Environment variable.")
@click.option("--command", help="Shell line in place of the language's run command.")
@click.option(
    "--wall-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Longest time, builds included, in seconds.",
)
@click.option("--cpu-s", type=click.FloatRange(min=0, min_open=True), help="CPU time in seconds.")
@click.option("--memory-mb", type=click.IntRange(min=1), help="Memory in MiB.")
@click.option("--output-kb", type=click.IntRange(min=1), help="Output in KiB.")
@click.option("--pids", type=click.IntRange(min=1), help="Processes and threads.")
@click.option("-t", "--tty", is_flag=True, help="Give the program a terminal.")
@click.option("--stats", is_flag=True, help="Say at the end how it ended and what it used.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's messages as they come.")
def run_command(
    *,
    files: tuple[str, ...],
    args: tuple[str, ...],
    language: str | None,
    code: str | None,
    url: str,
    token: str | None,
    stdin: Path | None,
    env: tuple[str, ...],
    command: str | None,
    tty: bool,
    stats: bool,
    as_json: bool,
    **limits: float | None,
) -> None:
    """Run code on a server as if it ran here: output, stdin, Ctrl-C and exit code.

    The first FILE is the main file, - reads it from stdin; further files and directories keep
    their place below the main file's directory or the working directory. What comes after -- are
    the program's arguments.

    Ctrl-C goes to the program; a second one within a second cancels the run; a third ends the
    command without waiting for the server.
    """
    from wsrunner.client import Client
    from wsrunner.commands import console, sources

    console.ensure_descriptors()
    try:
        Client(url, token)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    if code is None and not files:
        raise click.UsageError("name a file to run, or - for stdin, or give source with --code")
    for text in (*files, *args, *env, command or "", language or "", code or ""):
        if not sources.is_text(text):
            raise click.UsageError(f"{text!r} is not valid UTF-8")
    from_stdin = code is None and files[0] == "-"
    no_stdin = from_stdin and stdin is None
    if tty and not sys.stdin.isatty() and stdin is None and not from_stdin:
        raise click.UsageError("--tty needs a terminal as stdin")
    if stdin is not None and str(stdin) == "-":
        stdin = None
    try:
        if stdin is not None:
            sources.check_readable(stdin)
        main, name, extra = _sources(files, code)
    except sources.SourceTooLargeError as exc:
        console.fail(console.EX_TOO_LARGE, str(exc))
    except sources.SourceError as exc:
        console.fail(console.EX_NO_INPUT, str(exc))
    job = console.Job(
        main=main,
        name=name,
        extra=extra,
        language=language,
        args=args,
        env=dict(_variable(each) for each in env),
        command=command,
        limits={name: value for name, value in limits.items() if value is not None},
        stdin=stdin,
        no_stdin=no_stdin,
        tty=tty,
        stats=stats,
        json=as_json,
    )
    # Nothing is buffered, and Python's own way out would let a last Ctrl-C change the exit code.
    os._exit(console.play({"url": url, "token": token}, job))


def _sources(
    files: tuple[str, ...], code: str | None
) -> tuple[bytes, str | None, dict[str, bytes]]:
    """Read what is to run: the main file's content, its name if it has one, and further files.

    Raises:
        SourceError: One can't be read or has no place in the run.
    """
    from wsrunner.commands import sources

    path: Path | None = None
    if code is not None:
        content = code.encode()
    elif files[0] == "-":
        try:
            content = sources.read_from(sys.stdin.buffer, "stdin")
        except OSError as exc:
            raise sources.SourceError(f"stdin: {exc.strerror or exc}") from exc
    else:
        path = Path(files[0])
        content = sources.read(path)
    further = [Path(name) for name in files[0 if code is not None else 1 :]]
    extra = sources.read_all(path, further, Path.cwd())
    return content, None if path is None else path.name, extra


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is not K=V", param_hint="--env")
    return name, value


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


@main.command("languages")
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


@main.group("images", invoke_without_command=True)
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
        note = f"rebuild: wsrunner images build {language.id}" if status.outdated else ""
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


@images_group.command("build")
@_language_arguments
def images_build(names: tuple[str, ...], *, everything: bool) -> None:
    """Build local images of languages from Debian packages; --all: wherever that is possible."""
    import asyncio

    from wsrunner.images import progress, supply

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
                await supply.build(docker, catalogue, languages, display)

    asyncio.run(build())


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

    from wsrunner.commands import provision as steps
    from wsrunner.images import progress

    with progress.show() as display:
        chosen = asyncio.run(
            steps.services(display, local=local, rebuild=rebuild, with_deps=with_deps)
        )
    for variable, image in chosen.items():
        click.echo(f"{variable}={image}")


@main.command()
@click.option("--with-deps", is_flag=True, help="Install and start what is missing; needs root.")
@click.argument("names", metavar="[LANGUAGE]...", nargs=-1)
def setup(names: tuple[str, ...], *, with_deps: bool) -> None:
    """Check that everything is ready to run these languages, or make it so.

    Without LANGUAGE: python, javascript, c, cpp and bash. An engine that runs already is left as it
    is, and so are images that are present.
    """
    import asyncio

    from wsrunner.commands import provision as steps
    from wsrunner.images import progress

    catalogue = _catalogue()
    languages = _select(catalogue, names or steps.DEFAULT_LANGUAGES)
    with progress.show() as display:
        asyncio.run(steps.prepare(catalogue, languages, display, with_deps=with_deps))
    click.echo(f"ready: {', '.join(language.id for language in languages)}", err=True)


def _answer(value: bool | None) -> str:  # noqa: FBT001 - it is the thing to format
    return "?" if value is None else "yes" if value else "no"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; plain text, so that it can be cut and grepped."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@main.command("monitor")
@click.option("--url", envvar="WSRUNNER_URL", default=DEFAULT_URL, help=URL_HELP)
@click.option(
    "--token",
    envvar=["WSRUNNER_OPERATOR_TOKEN", "WSRUNNER_TOKEN"],
    help="The server's operator token, or its access token if it has no operator token.  "
    "[WSRUNNER_OPERATOR_TOKEN, WSRUNNER_TOKEN]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the feed's messages as they come.")
def monitor_command(*, url: str, token: str | None, as_json: bool) -> None:
    """Show live what a server does: slots, queue, warm containers, the last runs.

    Ends with Ctrl-C.
    """
    from wsrunner.commands import dashboard

    try:
        dashboard.show(url, token, as_json=as_json)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


@main.group(invoke_without_command=True)
@click.option(
    "--redis-url",
    envvar="WSRUNNER_REDIS_URL",
    help="Redis that the replicas share.  [WSRUNNER_REDIS_URL]",
)
@click.pass_context
def slots(ctx: click.Context, redis_url: str | None) -> None:
    """Show how many slots are held and how many runs wait, across all replicas."""
    ctx.obj = redis_url
    if ctx.invoked_subcommand is None:
        state = _operate(redis_url, lambda gate: gate.state())
        click.echo(f"slots    {state.held} of {state.slots} held")
        click.echo(f"queue    {state.waiting} of {state.queue_max} waiting")
        for name, engine in state.engines.items():
            limit = "" if engine.slots is None else f" of {engine.slots}"
            click.echo(f"engine   {name}: {engine.held}{limit} held")
        names = ", ".join(state.replica_names)
        click.echo(f"replicas {state.replicas}" + (f": {names}" if names else ""))


@slots.command("set")
@click.argument("count", type=click.IntRange(min=0))
@click.option("--engine", help="Set this engine's own capacity instead; 0 pauses it.")
@click.option("--redis-url", envvar="WSRUNNER_REDIS_URL", help="As for slots.")
@click.pass_obj
def set_slots(obj: str | None, count: int, engine: str | None, redis_url: str | None) -> None:
    """Set how many runs may run at once, across all replicas, from now on.

    Lowering it ends no run: new ones start once enough have ended.
    """
    if count == 0 and engine is None:
        raise click.BadParameter("a gate has at least 1 slot", param_hint="COUNT")

    async def resize(gate: Operator) -> None:
        if engine is None:
            await gate.resize(count)
            return
        known = (await gate.state()).engines
        if engine not in known:
            there = ", ".join(known) or "none"
            raise SetupError(f"no replica runs on an engine {engine!r}; there is {there}")
        await gate.resize_engine(engine, count)

    _operate(obj or redis_url, resize)


def _operate(url: str | None, do: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """Do one thing with the gate at this URL."""
    if not url:
        raise SetupError(
            "slots are shared through Redis: give --redis-url or set WSRUNNER_REDIS_URL. "
            "A server without it has slots of its own, set by --slots."
        )
    import asyncio

    from wsrunner.errors import GateUnavailableError
    from wsrunner.gates.redis import Operator

    async def operate() -> Any:
        async with Operator(url) as gate:
            return await do(gate)

    try:
        return asyncio.run(operate())
    except GateUnavailableError as exc:
        raise SetupError(str(exc)) from exc
