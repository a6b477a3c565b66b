"""``wsrunner run``: its arguments, and what of them makes no sense.

The run itself is `console`'s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from wsrunner.commands import options


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


@click.command("run", cls=_RunCommand)
@click.argument("files", metavar="[FILE|-]... [-- ARG...]", nargs=-1)
@click.option("-l", "--language", help="Language id or alias; guessed from the file if left out.")
@click.option("-c", "--code", help="Source text, in place of a main file.")
@options.url
@options.token
@options.token_file
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
@click.option("--merge", is_flag=True, help="Print stderr on stdout, in the order written.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to put the files in that the program makes.",
)
@click.option(
    "--outputs",
    multiple=True,
    metavar="PATTERN",
    help="Which: such as '*.png', or out/ for a folder; may be repeated.  [default: *]",
)
@click.option(
    "--workspace",
    metavar="NAME",
    help="Run it in a container that is kept for the next run of that name: files stay.",
)
@click.option("-t", "--tty", is_flag=True, help="Give the program a terminal.")
@click.option(
    "--keep",
    "keep_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Survive a lost connection: so long the run goes on without this command, which comes "
    "back to it by itself. Prints links to drive and to watch it.",
)
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
    token_file: Path | None,
    stdin: Path | None,
    env: tuple[str, ...],
    command: str | None,
    merge: bool,
    out: Path | None,
    outputs: tuple[str, ...],
    workspace: str | None,
    tty: bool,
    keep_s: float | None,
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
    from wsrunner.commands import console, descriptors
    from wsrunner.commands.job import Job

    descriptors.ensure_open()
    if code is None and not files:
        raise click.UsageError("name a file to run, or - for stdin, or give source with --code")
    token = options.choose_token(token, token_file, "WSRUNNER_TOKEN")
    _check(
        url,
        token,
        [*files, *args, *env, *outputs, *filter(None, (command, language, code, workspace))],
    )
    from_stdin = code is None and files[0] == "-"
    no_stdin = from_stdin and stdin is None
    if outputs and out is None:
        raise click.UsageError("--outputs needs --out, the directory to put them in")
    if tty and not sys.stdin.isatty() and stdin is None and not from_stdin:
        raise click.UsageError("--tty needs a terminal as stdin")
    if stdin is not None and str(stdin) == "-":
        stdin = None
    main, name, extra = _sources(files, code, stdin)
    job = Job(
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
        merge=merge,
        outputs=outputs or (() if out is None else ("*",)),
        out=out,
        workspace=workspace,
        tty=tty,
        stats=stats,
        json=as_json,
        keep_s=keep_s,
    )
    # Nothing is buffered, and Python's own way out would let a last Ctrl-C change the exit code.
    os._exit(console.play({"url": url, "token": token}, job))


def _check(url: str, token: str | None, texts: Iterable[str]) -> None:
    """Refuse what can't be sent.

    Raises:
        click.UsageError: The URL or the token is none, or a text is not UTF-8.
    """
    from wsrunner.client import Client
    from wsrunner.commands import sources

    try:
        Client(url, token)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    for text in texts:
        if not sources.is_text(text):
            raise click.UsageError(f"{text!r} is not valid UTF-8")


def _sources(
    files: tuple[str, ...], code: str | None, stdin: Path | None
) -> tuple[bytes, str | None, dict[str, bytes]]:
    """Read what is to run: the main file's content, its name if it has one, and further files.

    Ends the command if one can't be read or has no place in the run.
    """
    from wsrunner.commands import outcomes, sources

    path = None if code is not None or files[0] == "-" else Path(files[0])
    try:
        if stdin is not None:
            sources.check_readable(stdin)
        if code is not None:
            content = code.encode()
        elif path is not None:
            content = sources.read(path)
        else:
            content = sources.read_from(sys.stdin.buffer, "stdin")
        further = [Path(name) for name in files[0 if code is not None else 1 :]]
        extra = sources.read_all(path, further, Path.cwd())
    except sources.SourceError as exc:
        too_large = isinstance(exc, sources.SourceTooLargeError)
        click.echo(f"wsrunner: {exc}", err=True)
        sys.exit(outcomes.EX_TOO_LARGE if too_large else outcomes.EX_NO_INPUT)
    return content, None if path is None else path.name, extra


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is not K=V", param_hint="--env")
    return name, value
