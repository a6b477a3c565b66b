"""Which sockets may open, and whose they are.

Owns the sockets' paths and what refuses a handshake; who may do what is `access`'s. Called by
`server` for each handshake; must not touch sockets. All other requests are for `doors`.
"""

from __future__ import annotations

import dataclasses
import http
import itertools
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from wsrunner import protocol
from wsrunner.errors import GateUnavailableError, UnknownLanguageError
from wsrunner.runs.host import Host
from wsrunner.runs.job import Principal
from wsrunner.serving import answers
from wsrunner.serving.access import Access, AccessError, is_loopback
from wsrunner.serving.answers import Answer
from wsrunner.serving.paths import MONITOR_PATH, PISTON_PATH, RUN_PATH, SOCKET_PATHS
from wsrunner.serving.tickets import PARAMETER


class Handshakes:
    """Lets WebSocket requests pass that may.

    Args:
        access: Says who is asking.
        host: Whether it drains, and the catalogue.
    """

    def __init__(self, access: Access, host: Host) -> None:
        self._access = access
        self._host = host
        self._numbers = itertools.count(1)

    async def check(self, request: Request, client: str) -> Answer | Principal:
        """Return why a WebSocket can't be opened, or whose it is.

        Args:
            request: Its head.
            client: The address it came from.
        """
        path = path_of(request)
        if request.method != "GET":
            refusal = answers.error(
                405, "method_not_allowed", f"{request.method} opens no WebSocket; GET does"
            )
            refusal.headers["Allow"] = "GET"
            return refusal
        closed = path == PISTON_PATH and not self._host.settings.adapters
        if closed or (path not in SOCKET_PATHS and not path.startswith(f"{RUN_PATH}/")):
            return answers.error(
                404, "not_found", f"no WebSocket at {path[:100]}; there is {RUN_PATH}"
            )
        try:
            self._access.check_origin(request.headers.get_all)
            principal = self._of_socket(await self._whose(request, path, client))
        except (AccessError, GateUnavailableError) as exc:
            return exc.answer() if isinstance(exc, AccessError) else answers.of_error(exc)
        if self._host.draining:
            # A balancer then tries the next replica; an open socket it could not move.
            return answers.error(503, "draining", "the server is stopping")
        if path.startswith(f"{RUN_PATH}/"):
            try:
                self._host.catalogue.find(path.removeprefix(f"{RUN_PATH}/"))
            except UnknownLanguageError as exc:
                return answers.of_error(exc)
        return principal

    async def _whose(self, request: Request, path: str, client: str) -> Principal:
        headers = request.headers.get_all
        tickets = parse_qs(urlsplit(request.path).query).get(PARAMETER, [])
        if tickets:
            found = await self._access.tickets.redeem(tickets[0])
            return self._access.of_ticket(found, headers, client)
        if path == MONITOR_PATH:
            return self._access.operator(headers, client)
        if path == RUN_PATH:
            return await self._access.guest(headers, client)
        return self._access.user(headers, client)

    def _of_socket(self, principal: Principal) -> Principal:
        """Tell apart the sockets of a loopback address: many people's, if a proxy ends here."""
        if not is_loopback(principal.user):
            return principal
        return dataclasses.replace(principal, user=f"{principal.user}#{next(self._numbers)}")


def response_of(answer: Answer) -> Response:
    """Return an answer as `websockets` sends it, the last one of its connection."""
    headers = Headers(answer.headers)
    headers["Content-Length"] = str(len(answer.body))
    headers["Connection"] = "close"
    return Response(answer.status, answer.phrase, headers, answer.body)


def path_of(request: Request) -> str:
    """Return the path that a request asks for, decoded; empty if there is none to make out."""
    try:
        return unquote(urlsplit(request.path).path)
    except ValueError:
        return ""


def answer_subprotocol(connection: ServerConnection, request: Request, response: Response) -> None:
    """Answer with our subprotocol if it is offered, never with the one that carries the token.

    Not by `select_subprotocol`, which would keep the entrance of each socket for all of its life.
    """
    del connection
    offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
    if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS and protocol.SUBPROTOCOL in [
        name.strip() for name in offered
    ]:
        response.headers["Sec-WebSocket-Protocol"] = protocol.SUBPROTOCOL
