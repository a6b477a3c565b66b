"""What several commands have as an option."""

from __future__ import annotations

import os
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

token = click.option(
    "--token",
    help="Access token; options show in the list of processes.  [WSRUNNER_TOKEN]",
)

token_file = click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="File whose only line is the token.  [the variables of --token, with _FILE added]",
)


def choose_token(token: str | None, file: Path | None, *variables: str) -> str | None:
    """Return the token, as such or from a file; None if there is none.

    Args:
        token: That of ``--token``; empty for none, whatever the variables say.
        file: That of ``--token-file``.
        variables: What counts if no option is given. The first one that is set has the token; its
            name with ``_FILE`` behind it, a file that has.

    Raises:
        SetupError: The same token is given in both ways, or the file does not hold one.
    """
    forms = [("--token", token, "--token-file", file)]
    for name in variables:
        named = os.environ.get(f"{name}_FILE")
        file_there = Path(named) if named else None
        forms.append((name, os.environ.get(name) or None, f"{name}_FILE", file_there))
    for name, text, file_name, path in forms:
        if text and path:
            raise SetupError(f"{name} and {file_name} are both given; give one")
        if path:
            return _read(path)
        if text is not None:
            return text
    return None


def _read(file: Path) -> str:
    if settings.exposed(file):
        click.echo(f"wsrunner: the token file {file} can be read by everybody here", err=True)
    return settings.read_token(file)
