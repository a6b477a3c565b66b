"""The command ``wsrunner``; here `serve`, the others in the modules beside this one.

These modules own arguments, what is printed, and exit codes; the work is done by the modules below.
Heavy imports stay inside the commands, so that ``--help`` and ``serve`` start at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from wsrunner import __version__, settings
from wsrunner.commands import attach, forget, images, mcp, operate, run, token
from wsrunner.errors import SetupError


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


for command in (
    run.run_command,
    attach.attach_command,
    attach.watch_command,
    forget.forget_command,
    forget.workspaces_command,
    images.languages_command,
    images.images_group,
    images.setup_command,
    operate.monitor_command,
    operate.slots_group,
    token.token_group,
    mcp.mcp_command,
):
    main.add_command(command)
