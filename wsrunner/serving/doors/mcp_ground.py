"""What carries out the tools of ``/mcp``: this server itself.

Imported with the first request only: see `mcp`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from msgspec import UNSET

from wsrunner import protocol
from wsrunner.engines.base import STDERR
from wsrunner.errors import WsrunnerError
from wsrunner.runs.events import Event, Exit, Output, Refused, Started
from wsrunner.runs.run import Run
from wsrunner.serving import wire
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors.asgi import PRINCIPAL
from wsrunner.serving.doors.readers import carry
from wsrunner.tools import Hear, Outcome, Program, make_server


def make_manager(
    desk: Desk, max_bytes: int, sessions_max: int, idle_s: float
) -> StreamableHTTPSessionManager:
    """Return what has the sessions of all clients.

    Args:
        desk: Starts the runs.
        max_bytes: Largest body.
        sessions_max: How many sessions there may be.
        idle_s: How long one is kept for which no request comes.
    """
    server = make_server(_Desk(desk))
    server.streamable_http_app(
        max_request_body_size=max_bytes,
        max_sessions=sessions_max,
        session_idle_timeout=idle_s,
        # Names and origins have been checked, as everywhere.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return server.session_manager


class _Desk:
    """Carries runs out here; see `tools.Ground`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def languages(self) -> list[dict[str, Any]]:
        """See `tools.Ground.languages`."""
        host = self._desk.host
        try:
            present = await host.engine.images()
        except WsrunnerError as exc:
            raise ToolError(exc.message) from exc
        facts = (language.facts(present) for language in host.catalogue)
        return [entry for entry in facts if entry["present"]]

    async def run(self, program: Program, request: Any, hear: Hear) -> Outcome:
        """See `tools.Ground.run`."""
        told = _Told(hear)
        try:
            asked = _request(program)
            await carry(self._desk, wire.job_of(asked), request.scope[PRINCIPAL], told)
        except WsrunnerError as exc:
            raise ToolError(exc.message) from exc
        if told.exit is None:
            raise ToolError(told.error or "an error of the server ended the run")
        return Outcome(wire.exit_message(told.exit, UNSET, told.run.run_id), told.workspace)

    async def forget(self, workspace: str, request: Any) -> None:
        """See `tools.Ground.forget`."""
        try:
            await self._desk.host.workspaces.forget(request.scope[PRINCIPAL], workspace)
        except WsrunnerError as exc:
            raise ToolError(exc.message) from exc


class _Told:
    """Tells of a run's output as it comes; see `readers.Waiter`."""

    run: Run

    def __init__(self, hear: Hear) -> None:
        self.ended = asyncio.Event()
        self.exit: Exit | None = None
        self.error = ""
        self.workspace: str | None = None
        self._hear = hear

    async def send(self, event: Event) -> None:
        """See `Reader.send`."""
        if isinstance(event, Output):
            await self._hear("stderr" if event.stream == STDERR else "stdout", event.data)
        elif isinstance(event, Started):
            self.workspace = self.workspace or event.workspace
        elif isinstance(event, Exit):
            self.exit = event
            self.ended.set()
        elif isinstance(event, Refused):
            self.error = event.error.message
            self.ended.set()

    async def drop(self) -> None:
        """See `Reader.drop`."""
        self.error = "the client takes no output"
        self.ended.set()

    def over(self) -> None:
        """See `Reader.over`."""
        self.ended.set()


def _request(program: Program) -> protocol.RunRequest:
    """Return the same in our words.

    Raises:
        BadMessageError, TooLargeError: It can't be run.
    """
    files = [
        protocol.File(name=name, content=content) for name, content in (program.files or {}).items()
    ]
    request = protocol.RunRequest(
        language=program.language,
        code=UNSET if files else program.code,
        files=files or UNSET,
        stdin=program.stdin,
        args=list(program.args),
        limits=protocol.Limits(wall_s=UNSET if program.wall_s is None else program.wall_s),
        workspace=UNSET if program.workspace is None else program.workspace,
    )
    protocol.check_run(request)
    return request
