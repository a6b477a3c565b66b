"""``POST /v1/tickets``: a ticket for a socket.

Owns the route. What a ticket is worth is `serving.tickets`' to say.
"""

from __future__ import annotations

from aiohttp import web

from wsrunner.serving import answers
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors.asking import allow_origin, asker
from wsrunner.serving.doors.exchange import response_of
from wsrunner.serving.tickets import LIFE_S


class TicketDoor:
    """Gives tickets to who has a token.

    Args:
        desk: What is needed to know who asks.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered."""
        return [web.post("/v1/tickets", self.issue)]

    async def issue(self, request: web.Request) -> web.StreamResponse:
        """Answer with a ticket that stands for who asks; a body is not looked at."""
        allowed = allow_origin(self._desk, request)
        principal = asker(self._desk, request)
        ticket = await self._desk.access.tickets.issue(principal)
        answer = answers.json(201, {"ticket": ticket, "expires_s": LIFE_S})
        answer.headers.update(allowed)
        return response_of(answer)
