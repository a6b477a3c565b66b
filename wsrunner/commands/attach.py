"""``wsrunner attach`` and ``watch``: a run that is kept, driven or watched from here.

What happens between the run and this process is `console`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from wsrunner.address import unlink
from wsrunner.commands import options


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Add what both commands take."""
    for add in reversed(
        (
            click.argument("link"),
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
    This command's stdin goes to the program, its end too: `wsrunner watch` sends nothing. SIGTERM,
    or closing the terminal, leaves the run without ending it.
    """
    _play(watch=False, **given)


@click.command("watch")
@_common
def watch_command(**given: Any) -> None:
    """Watch a kept run: all it printed and prints, and its exit code.

    LINK is what `wsrunner run --keep` printed, in quotes. Ctrl-C leaves the run, which goes on.
    """
    _play(watch=True, **given)


def _play(
    *, link: str, token: str | None, token_file: Path | None, watch: bool, stats: bool, json: bool
) -> None:
    from wsrunner.client import Client
    from wsrunner.commands import console, descriptors
    from wsrunner.commands.job import Job

    descriptors.ensure_open()
    token = options.choose_token(token, token_file)
    try:
        url, run, key = unlink(link)
        Client(url, token)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    job = Job(kept=(run, key), watch=watch, stats=stats, json=json)
    os._exit(console.play({"url": url, "token": token}, job))
