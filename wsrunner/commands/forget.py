"""``wsrunner workspaces`` and ``forget``: containers that are kept between runs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsrunner.commands import options

if TYPE_CHECKING:
    from wsrunner.client import Client


@click.command("workspaces")
@options.url
@options.token
@options.token_file
def workspaces_command(*, url: str, token: str | None, token_file: Path | None) -> None:
    """List your workspaces on a server."""
    for each in _ask(url, token, token_file, lambda client: client.workspaces()):
        state = "busy" if each["busy"] else f"idle for {each['idle_s']:.0f} s"
        click.echo(f"{each['workspace']}  {each['image']}  {state}")


@click.command("forget")
@click.argument("name")
@options.url
@options.token
@options.token_file
def forget_command(*, name: str, url: str, token: str | None, token_file: Path | None) -> None:
    """End the workspace NAME, and its files: now, or with the run that goes on in it."""
    _ask(url, token, token_file, lambda client: client.forget(name))


def _ask(
    url: str,
    token: str | None,
    token_file: Path | None,
    ask: Callable[[Client], Awaitable[Any]],
) -> Any:
    """Ask a server something; ends the command if that can't be answered."""
    import asyncio

    from wsrunner.client import Client, ConnectError, RunRefusedError
    from wsrunner.commands import outcomes

    async def answer() -> Any:
        return await ask(client)

    try:
        client = Client(url, options.choose_token(token, token_file, "WSRUNNER_TOKEN"))
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    try:
        return asyncio.run(answer())
    except ConnectError as exc:
        stop = outcomes.unreachable(exc)
    except RunRefusedError as exc:
        stop = outcomes.refused(exc)
    click.echo(f"wsrunner: {stop.line}", err=True)
    sys.exit(stop.code)
