"""``wsrunner mcp``: the tools over stdin and stdout, carried out by a server elsewhere.

Each call has a connection of its own, so that one that is cancelled takes its run along.
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver.exceptions import ToolError

from wsrunner.client import Client, ConnectError, ConnectionLostError, RunRefusedError
from wsrunner.tools import Hear, Outcome, Program, make_server


def serve(url: str, token: str | None) -> None:
    """Serve on stdin and stdout until they end. Blocks.

    Raises:
        ValueError: The URL is none, or the token can't be a header.
    """
    Client(url, token)
    make_server(_Server(url, token)).run("stdio")


class _Server:
    """Carries runs out on a wsrunner server; see `tools.Ground`.

    Args:
        url: Where it is.
        token: Its access token, if it wants one.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._token = token

    async def languages(self) -> list[dict[str, Any]]:
        """See `tools.Ground.languages`."""
        try:
            listed = await Client(self._url, self._token).languages()
        except ConnectError as exc:
            raise ToolError(str(exc)) from exc
        return [entry for entry in listed if entry["present"]]

    async def run(self, program: Program, request: Any, hear: Hear) -> Outcome:
        """See `tools.Ground.run`."""
        del request
        try:
            async with Client(self._url, self._token) as client:
                run = await client.run(
                    program.language,
                    code=None if program.files else program.code,
                    files=dict(program.files) if program.files else None,
                    stdin=program.stdin,
                    args=program.args,
                    limits=None if program.wall_s is None else {"wall_s": program.wall_s},
                    workspace=program.workspace,
                )
                async for output in run:
                    await hear(output.stream, output.data)
                return Outcome(await run.exit(), run.workspace)
        except (RunRefusedError, ConnectError, ConnectionLostError, ValueError) as exc:
            raise ToolError(str(exc)) from exc

    async def forget(self, workspace: str, request: Any) -> None:
        """See `tools.Ground.forget`."""
        del request
        try:
            await Client(self._url, self._token).forget(workspace)
        except (RunRefusedError, ConnectError) as exc:
            raise ToolError(str(exc)) from exc
