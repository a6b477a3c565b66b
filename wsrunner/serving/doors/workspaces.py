"""Workspaces over HTTP: which one has, and forgetting one.

Owns ``/v1/workspaces``.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from wsrunner.runs.job import Principal
from wsrunner.runs.workspaces import owner_of
from wsrunner.serving import answers
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors.asking import allow_origin, asker
from wsrunner.serving.doors.exchange import response_of

WORKSPACES_PATH = "/v1/workspaces"


class Workspace(msgspec.Struct, kw_only=True, frozen=True):
    """One that is kept.

    Attributes:
        workspace: Its name.
        image: What its container is made of.
        busy: Whether a run goes on in it, or waits for it.
        age_s: Since its first run was asked for.
        idle_s: Since its last run; 0 while it is busy.
    """

    workspace: str
    image: str
    busy: bool
    age_s: float
    idle_s: float


class Spaces:
    """Answers what is asked of workspaces.

    Args:
        desk: Has them.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered."""
        return [
            web.get(WORKSPACES_PATH, self.list),
            web.delete(f"{WORKSPACES_PATH}/{{name}}", self.forget),
        ]

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Answer with those of who asks, by name."""
        owner = owner_of(self._asker(request))
        listed = [
            Workspace(
                workspace=each.name,
                image=each.image,
                busy=each.busy,
                age_s=round(each.age_s, 3),
                idle_s=round(each.idle_s, 3),
            )
            for each in self._desk.host.workspaces.of(owner)
        ]
        return response_of(answers.json(200, listed))

    async def forget(self, request: web.Request) -> web.StreamResponse:
        """End one: now if it is idle, else with the run that goes on in it."""
        await self._desk.host.workspaces.forget(self._asker(request), request.match_info["name"])
        return web.Response(status=204)

    def _asker(self, request: web.Request) -> Principal:
        """Return whose workspaces are meant.

        Raises:
            AccessError: Who asks may not.
        """
        allow_origin(self._desk, request)
        return asker(self._desk, request)
