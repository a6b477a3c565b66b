"""What several commands have as an option."""

from __future__ import annotations

import click

from wsrunner.address import DEFAULT_URL

url = click.option(
    "--url",
    envvar="WSRUNNER_URL",
    default=DEFAULT_URL,
    help=(
        "The server: ws, wss, http or https URL, or host:port.  [WSRUNNER_URL]  "
        f"[default: {DEFAULT_URL}]"
    ),
)
