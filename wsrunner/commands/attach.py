"""``wsrunner attach`` and ``watch``: a run that is kept, driven or watched from here.

What happens between the run and this process is `console`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from wsrunner import settings
from wsrunner.address import unlink
from wsrunner.commands import options

LINK_MAX_BYTES = 4096


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Add what both commands take."""
    for add in reversed(
        (
            click.argument("link", required=False, envvar="WSRUNNER_LINK"),
            click.option(
                "--link-file",
                type=click.Path(path_type=Path, allow_dash=True),
                help="File whose first line is the link: arguments show in the list of processes. "
                "- for the first line of stdin.",
            ),
            click.option(
                "--token",
                envvar="WSRUNNER_TOKEN",
                help="The server's access token, if it has one; options show in the list of "
                "processes.  [WSRUNNER_TOKEN]",
            ),
            options.token_file,
            click.option("--stats", is_flag=True, help="Say at the end how it ended."),
            click.option("--json", is_flag=True, help="Print the server's messages as they come."),
        )
    ):
        command = add(command)
    return command


@click.command("attach")
@_common
def attach_command(**given: Any) -> None:
    """Drive a kept run: all it printed and prints, stdin, Ctrl-C and its exit code.

    LINK is what `wsrunner run --keep` printed, in quotes: the address of the server and the key.
    As an argument it shows in the list of processes: see --link-file, and WSRUNNER_LINK. This
    command's stdin goes to the program, its end too: `wsrunner watch` sends nothing. SIGTERM,
    or closing the terminal, leaves the run without ending it.
    """
    _play(watch=False, **given)


@click.command("watch")
@_common
def watch_command(**given: Any) -> None:
    """Watch a kept run: all it printed and prints, and its exit code.

    LINK is what `wsrunner run --keep` printed, in quotes; or see --link-file, or WSRUNNER_LINK.
    Ctrl-C leaves the run, which goes on.
    """
    _play(watch=True, **given)


def _play(
    *,
    link: str | None,
    link_file: Path | None,
    token: str | None,
    token_file: Path | None,
    watch: bool,
    stats: bool,
    json: bool,
) -> None:
    from wsrunner.client import Client
    from wsrunner.commands import console, descriptors
    from wsrunner.commands.job import Job

    descriptors.ensure_open()
    token = options.choose_token(token, token_file)
    try:
        url, run, key = unlink(_link(link, link_file))
        Client(url, token)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    job = Job(kept=(run, key), watch=watch, stats=stats, json=json)
    os._exit(console.play({"url": url, "token": token}, job))


def _link(link: str | None, file: Path | None) -> str:
    """Return the link, as such or from a file's first line.

    Raises:
        UsageError: There is none, or one in both ways.
        ValueError: The file can't be read.
    """
    given = click.get_current_context().get_parameter_source("link")
    if file is None:
        if link is None:
            raise click.UsageError("no link: give LINK, --link-file or WSRUNNER_LINK")
        return link
    if given is ParameterSource.COMMANDLINE:
        raise click.UsageError("LINK and --link-file are both given; give one")
    if str(file) == "-":
        return _first_line()
    if settings.exposed(file):
        click.echo(f"wsrunner: the link file {file} can be read by everybody here", err=True)
    try:
        return file.read_text("utf-8").partition("\n")[0].strip()
    except OSError as exc:
        raise ValueError(f"can't read {file}: {exc.strerror}") from exc


def _first_line() -> str:
    """Read stdin's first line and no byte more: the rest is the program's."""
    line = bytearray()
    while len(line) < LINK_MAX_BYTES and (byte := os.read(0, 1)) not in {b"", b"\n"}:
        line += byte
    return line.decode(errors="replace").strip()
