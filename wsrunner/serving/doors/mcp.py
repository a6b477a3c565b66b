"""``/mcp``: the tools over streamable HTTP, as the official package speaks it.

Owns who may ask, and how long sessions live. What it takes is loaded at the first request: it takes
longer than the whole rest of the server.
"""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiohttp import web

from wsrunner.serving.desk import Desk
from wsrunner.serving.doors import asgi
from wsrunner.serving.doors.asking import allow_origin
from wsrunner.serving.doors.body import RequestError, no_continue, read_body
from wsrunner.serving.doors.hangup import carrying
from wsrunner.serving.doors.readers import UNBUFFERED
from wsrunner.serving.doors.runs import Runs

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

MCP_PATH = "/mcp"
SESSIONS_MAX = 1000
SESSION_IDLE_S = 600.0
"""How long a session is kept for which no request comes."""
_EXTRA = frozenset({"mcp", "mcp_types", "pydantic", "starlette", "anyio"})


class Mcp:
    """Answers clients of the Model Context Protocol.

    Args:
        desk: Has the languages and the limits.
        runs: Lets people in.
    """

    def __init__(self, desk: Desk, runs: Runs) -> None:
        self._desk = desk
        self._runs = runs
        self._opening: asyncio.Task[StreamableHTTPSessionManager] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered."""
        return [
            web.get(MCP_PATH, self.serve, allow_head=False),
            web.delete(MCP_PATH, self.serve),
            web.post(MCP_PATH, self.serve, expect_handler=no_continue),
        ]

    async def close(self, _: object = None) -> None:
        """End all sessions."""
        self._over.set()
        if self._serving is not None:
            await self._serving

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Let the package answer; who hangs up is not answered any more."""
        async with self._runs.place(request) as principal:
            body = b""
            if request.method == "POST":
                body = await read_body(request, self._runs.max_bytes, self._desk.inlet)
            manager = await self._manager()
            with carrying(request):
                return await asgi.answer(
                    request,
                    body,
                    manager.handle_request,
                    scope={asgi.PRINCIPAL: principal},
                    headers=UNBUFFERED | allow_origin(self._desk, request),
                )

    async def _manager(self) -> StreamableHTTPSessionManager:
        """Return what has the sessions.

        Raises:
            RequestError: The extra is not installed, or the server stops.
        """
        if self._over.is_set():
            raise RequestError(503, "draining", "the server is stopping")
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="mcp opening")
        # Others wait for it, too.
        return await asyncio.shield(self._opening)

    async def _open(self) -> StreamableHTTPSessionManager:
        try:
            await asyncio.to_thread(import_module, "wsrunner.serving.doors.mcp_ground")
        except ModuleNotFoundError as exc:
            if (exc.name or "").partition(".")[0] not in _EXTRA:
                raise
            raise RequestError(
                501,
                "not_installed",
                "tools for models are not installed on this server: pip install 'wsrunner[mcp]'",
            ) from exc
        # Its lines name sessions, and who knows that name is in the session.
        logging.getLogger("mcp").setLevel(logging.WARNING)
        from wsrunner.serving.doors.mcp_ground import make_manager

        manager = make_manager(self._desk, self._runs.max_bytes, SESSIONS_MAX, SESSION_IDLE_S)
        open_ = asyncio.Event()
        self._serving = asyncio.create_task(self._keep(manager, open_), name="mcp sessions")
        await open_.wait()
        return manager

    async def _keep(self, manager: Any, open_: asyncio.Event) -> None:
        """Have the sessions until the end; their scope must be left by the task that entered it."""
        async with manager.run():
            open_.set()
            await self._over.wait()
