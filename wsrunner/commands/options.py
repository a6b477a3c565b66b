"""What several commands have as an option."""

from __future__ import annotations

from pathlib import Path

import click

from wsrunner import settings
from wsrunner.address import DEFAULT_URL
from wsrunner.errors import SetupError

url = click.option(
    "--url",
    envvar="WSRUNNER_URL",
    default=DEFAULT_URL,
    help=(
        "The server: ws, wss, http or https URL, or host:port.  [WSRUNNER_URL]  "
        f"[default: {DEFAULT_URL}]"
    ),
)

token_file = click.option(
    "--token-file",
    envvar="WSRUNNER_TOKEN_FILE",
    type=click.Path(path_type=Path),
    help="File whose only line is the token.  [WSRUNNER_TOKEN_FILE]",
)


def choose_token(token: str | None, file: Path | None) -> str | None:
    """Return the token, given as such or in a file; None if there is none.

    Raises:
        SetupError: Both are given, or the file does not hold one.
    """
    if file is None:
        return token
    if token:
        raise SetupError("--token and --token-file are both given, by option or variable; give one")
    if settings.exposed(file):
        click.echo(f"wsrunner: the token file {file} can be read by everybody here", err=True)
    return settings.read_token(file)
