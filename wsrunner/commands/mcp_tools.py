"""A server's runs as tools of the Model Context Protocol.

Owns the tools' names, arguments and results; the protocol is the official package's. Each call has
a connection of its own, so that one that is cancelled takes its run along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from wsrunner import __version__
from wsrunner.client import Client, ConnectError, ConnectionLostError, Run, RunRefusedError

KEPT_MAX_BYTES = 100_000
"""Of each stream: a model reads no more, and pays for all of it."""
_INSTRUCTIONS = (
    "Runs programs in throw-away containers: no network, no files kept between runs. "
    "Ask list_languages what there is."
)


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
    """

    stdout: str
    stderr: str
    reason: str
    stage: str
    code: int | None
    signal: str | None
    wall_ms: float
    left_out_bytes: int


@dataclass(frozen=True)
class Known:
    """One language."""

    id: str
    name: str
    aliases: list[str]


def serve(url: str, token: str | None) -> None:
    """Serve on stdin and stdout until they end. Blocks.

    Raises:
        ValueError: The URL is none, or the token can't be a header.
    """
    Client(url, token)
    make_server(url, token).run("stdio")


def make_server(url: str, token: str | None) -> MCPServer:
    """Return an MCP server whose tools run on a wsrunner server."""
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
    ) -> Ran:
        """Run a program and return what it printed and how it ended."""
        sources = await _sources(Client(url, token), language, code, files)
        try:
            async with Client(url, token) as client:
                run = await client.run(
                    language,
                    code=None if sources else code,
                    files=sources,
                    stdin=stdin,
                    args=args or (),
                    limits=None if wall_s is None else {"wall_s": wall_s},
                )
                return await _follow(run, ctx)
        except (RunRefusedError, ConnectError, ConnectionLostError, ValueError) as exc:
            raise ToolError(str(exc)) from exc

    @server.tool()
    async def list_languages() -> list[Known]:
        """Return the languages that can be run."""
        return [
            Known(entry["id"], entry["name"], entry["aliases"])
            for entry in await _present(Client(url, token))
        ]

    return server


async def _follow(run: Run, ctx: Context) -> Ran:
    """Report output as it comes, and return the first of it with the end."""
    kept = {"stdout": bytearray(), "stderr": bytearray()}
    left_out = count = 0
    async for output in run:
        stream = kept[output.stream]
        taken = output.data[: max(0, KEPT_MAX_BYTES - len(stream))]
        stream += taken
        left_out += len(output.data) - len(taken)
        count += 1
        if taken:
            await ctx.report_progress(count, message=taken.decode(errors="replace"))
    end = await run.exit()
    return Ran(
        stdout=kept["stdout"].decode(errors="replace"),
        stderr=kept["stderr"].decode(errors="replace"),
        reason=end.reason,
        stage=end.stage,
        code=end.code,
        signal=end.signal,
        wall_ms=end.wall_ms,
        left_out_bytes=left_out,
    )


async def _present(client: Client) -> list[dict[str, Any]]:
    """Return the catalogue's entries whose images are there."""
    try:
        return [entry for entry in await client.languages() if entry["present"]]
    except ConnectError as exc:
        raise ToolError(str(exc)) from exc


async def _sources(
    client: Client, language: str, code: str, files: dict[str, str] | None
) -> dict[str, str | bytes] | None:
    """Return all files, the main one first; None where the code is all there is."""
    if not files:
        return None
    wanted = language.strip().lower()
    for entry in await _present(client):
        if wanted in {entry["id"], *entry["aliases"]}:
            return {entry["file"]: code, **files}
    raise ToolError(f"no language {language[:64]!r} is here; list_languages says which are")
