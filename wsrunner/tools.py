"""Runs as tools of the Model Context Protocol, whoever carries them out.

Owns the tools' names, arguments and results; the protocol is the official package's. Only those
import this who are about to serve it: it takes longer than all else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from wsrunner import __version__
from wsrunner.protocol import Exit

KEPT_MAX_BYTES = 100_000
"""Of each stream: a model reads no more, and pays for all of it."""
_INSTRUCTIONS = (
    "Runs programs in throw-away containers: no network, no files kept between runs, but for those "
    "of a workspace. Ask list_languages what there is."
)

Hear = Callable[[str, bytes], Awaitable[None]]
"""Takes a stream's name and what came on it."""


@dataclass(frozen=True)
class Program:
    """What is to be run.

    Attributes:
        language: Id or alias.
        code: The main file's source, unless there are `files`.
        files: All files, name to content, the main one first; None if `code` is all there is.
        stdin: All of its input.
        args: Its arguments.
        wall_s: How long it may take; None for as long as the server lets it.
        workspace: Name of the workspace to run it in; None for a container of its own.
    """

    language: str
    code: str
    files: Mapping[str, str] | None
    stdin: str
    args: Sequence[str]
    wall_s: float | None
    workspace: str | None = None


class Outcome(NamedTuple):
    """How a run ended, and whether its workspace was ``new`` or ``kept``, if it had one."""

    exit: Exit
    workspace: str | None


class Ground(Protocol):
    """What carries runs out. All methods raise ToolError for what can't be done, in its words."""

    async def languages(self) -> list[dict[str, Any]]:
        """Return what ``GET /v1/languages`` shows of those whose image is there."""
        ...

    async def run(self, program: Program, request: Any, hear: Hear) -> Outcome:
        """Run something to its end.

        Args:
            program: What.
            request: The HTTP request that asks for it, if there is one.
            hear: Called with its output, piece by piece.

        Cancelling ends it.
        """
        ...

    async def forget(self, workspace: str, request: Any) -> None:
        """End a workspace; `request` is as for `run`."""
        ...


@dataclass(frozen=True)
class Ran:
    """How a program went.

    Attributes:
        stdout: What it printed, the first of it.
        stderr: Likewise, and what a compiler said.
        reason: How it ended: ``exited``, ``signaled``, ``timeout``, ``out_of_memory``, ….
        stage: Where: ``build`` if it does not compile.
        code: Its exit code, where it exited.
        signal: The signal, where one ended it.
        wall_ms: How long that stage took.
        left_out_bytes: Output that is not shown here.
        workspace: ``kept`` where files of earlier calls were there, ``new`` where none were.
    """

    stdout: str
    stderr: str
    reason: str
    stage: str
    code: int | None
    signal: str | None
    wall_ms: float
    left_out_bytes: int
    workspace: str | None


@dataclass(frozen=True)
class Known:
    """One language."""

    id: str
    name: str
    aliases: list[str]


def make_server(ground: Ground) -> MCPServer:
    """Return an MCP server whose tools run on a ground."""
    server = MCPServer("wsrunner", instructions=_INSTRUCTIONS, version=__version__)

    @server.tool()
    async def run_code(  # noqa: PLR0917 - the tool's arguments have names
        ctx: Context,
        language: Annotated[str, Field(description="Id or alias: python, c, bash, …")],
        code: Annotated[str, Field(description="Source of the main file.")],
        stdin: Annotated[str, Field(description="All of the program's input.")] = "",
        args: Annotated[list[str] | None, Field(description="The program's arguments.")] = None,
        files: Annotated[
            dict[str, str] | None, Field(description="Further files: name to content.")
        ] = None,
        wall_s: Annotated[
            float | None, Field(description="Seconds after which it is ended.", gt=0)
        ] = None,
        workspace: Annotated[
            str | None,
            Field(
                description="A name of your choice: a later call with the same name and language "
                "finds the files of this one."
            ),
        ] = None,
    ) -> Ran:
        """Run a program and return what it printed and how it ended."""
        sources = await _sources(ground, language, code, files)
        program = Program(language, code, sources, stdin, args or (), wall_s, workspace)
        heard = _Heard(ctx)
        outcome = await ground.run(program, ctx.request_context.request, heard.take)
        return heard.result(outcome)

    @server.tool()
    async def forget_workspace(
        ctx: Context,
        workspace: Annotated[str, Field(description="Its name, as given to run_code.")],
    ) -> str:
        """End a workspace and its files."""
        await ground.forget(workspace, ctx.request_context.request)
        return "forgotten"

    @server.tool()
    async def list_languages() -> list[Known]:
        """Return the languages that can be run."""
        return [
            Known(entry["id"], entry["name"], entry["aliases"])
            for entry in await ground.languages()
        ]

    return server


class _Heard:
    """Reports output as it comes, and keeps the first of it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._kept = {"stdout": bytearray(), "stderr": bytearray()}
        self._left_out = 0
        self._count = 0

    async def take(self, stream: str, data: bytes) -> None:
        kept = self._kept[stream]
        taken = data[: max(0, KEPT_MAX_BYTES - len(kept))]
        kept += taken
        self._left_out += len(data) - len(taken)
        self._count += 1
        if taken:
            message = taken.decode(errors="replace")
            await self._ctx.report_progress(self._count, message=message)

    def result(self, outcome: Outcome) -> Ran:
        end = outcome.exit
        return Ran(
            stdout=self._kept["stdout"].decode(errors="replace"),
            stderr=self._kept["stderr"].decode(errors="replace"),
            reason=end.reason,
            stage=end.stage,
            code=end.code,
            signal=end.signal,
            wall_ms=end.wall_ms,
            left_out_bytes=self._left_out,
            workspace=outcome.workspace,
        )


async def _sources(
    ground: Ground, language: str, code: str, files: dict[str, str] | None
) -> dict[str, str] | None:
    """Return all files, the main one first; None where the code is all there is."""
    if not files:
        return None
    wanted = language.strip().lower()
    for entry in await ground.languages():
        if wanted in {entry["id"], *entry["aliases"]}:
            return {entry["file"]: code, **files}
    raise ToolError(f"no language {language[:64]!r} is here; list_languages says which are")
