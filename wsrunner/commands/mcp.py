"""``wsrunner mcp``: its arguments, and what is missing where the extra is.

The tools are `mcp_tools`'.
"""

from __future__ import annotations

from pathlib import Path

import click

from wsrunner.commands import options
from wsrunner.errors import SetupError


@click.command("mcp")
@options.url
@click.option(
    "--token",
    envvar="WSRUNNER_TOKEN",
    help="Access token; options show in the list of processes.  [WSRUNNER_TOKEN]",
)
@options.token_file
def mcp_command(*, url: str, token: str | None, token_file: Path | None) -> None:
    """Offer a server's runs to a model, as tools over stdin and stdout.

    Speaks the Model Context Protocol; needs the extra: pip install 'wsrunner[mcp]'. The client
    starts this command itself, so name it to the client and don't run it by hand.
    """
    token = options.choose_token(token, token_file)
    try:
        from wsrunner.commands import mcp_tools
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in {"mcp", "pydantic"}:
            raise
        raise SetupError(
            "the package mcp is not installed: pip install 'wsrunner[mcp]' brings it"
        ) from exc
    try:
        mcp_tools.serve(url, token)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
