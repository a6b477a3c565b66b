"""The HTTP side of the port: routes, what is checked first, and what every answer carries.

Owns aiohttp's application. Importing it takes as long as all of the sockets' library, so that the
port loads it once it listens.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from wsrunner.errors import WsrunnerError
from wsrunner.serving import answers
from wsrunner.serving.access import AccessError, OriginError
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors import asking
from wsrunner.serving.doors.body import RequestError
from wsrunner.serving.doors.docker_run import DockerRun
from wsrunner.serving.doors.exchange import SERVER, Exchange, response_of
from wsrunner.serving.doors.lists import PROBES, Lists
from wsrunner.serving.doors.mcp import Mcp
from wsrunner.serving.doors.pages import Pages, nothing_at, static_dir
from wsrunner.serving.doors.piston import Piston
from wsrunner.serving.doors.rest import Rest
from wsrunner.serving.doors.runs import Runs
from wsrunner.serving.doors.tickets import TicketDoor
from wsrunner.serving.doors.workspaces import Spaces
from wsrunner.serving.entrance import LINE_MAX_BYTES
from wsrunner.serving.paths import MONITOR_PATH, PISTON_PATH, RUN_PATH

IDLE_S = 60.0
"""How long a connection may be without a request."""
LINGER_S = 5.0
"""How long a body that nobody wants is read, so that its client gets to read the answer."""
HEADERS_MOST = 128


class App:
    """Serves HTTP; made by `open`.

    Args:
        desk: What all doors share.
        runner: Of aiohttp.
        write_limits: Bytes that wait for a client; see `Exchange`.
    """

    def __init__(self, desk: Desk, runner: web.AppRunner, write_limits: tuple[int, int]) -> None:
        self._desk = desk
        self._runner = runner
        self._write_limits = write_limits

    @classmethod
    async def open(cls, desk: Desk, write_limits: tuple[int, int]) -> App:
        """Return one that is ready to serve."""
        application = web.Application(middlewares=[_answering(desk)])
        runs = Runs(desk)
        mcp = Mcp(desk, runs)
        application.add_routes([*_routes(desk, runs), *mcp.routes()])
        application.on_shutdown.append(mcp.close)
        application.on_response_prepare.append(_finish_head)
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=LINGER_S
        )
        await runner.setup()
        return cls(desk, runner, write_limits)

    def connection(self) -> Exchange:
        """Return the protocol of a new connection."""
        server = self._runner.server
        assert server is not None
        return Exchange(
            server,
            slow_client_s=self._desk.settings.slow_client_s,
            write_limits=self._write_limits,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            max_line_size=LINE_MAX_BYTES,
            max_field_size=LINE_MAX_BYTES,
            max_headers=HEADERS_MOST,
            auto_decompress=False,
            access_log=None,
            tcp_keepalive=False,
        )

    def cut_stuck(self) -> None:
        """End the connections that are closing and whose clients take nothing."""
        assert self._runner.server is not None
        for exchange in self._runner.server.connections:
            if isinstance(exchange, Exchange) and exchange.stands_still():
                exchange.cut()

    async def close(self) -> None:
        """Let the answers out that are being given, for a while, and end all connections."""
        await self._runner.cleanup()


def _routes(desk: Desk, runs: Runs) -> list[web.RouteDef]:
    doors: list[Pages | Lists | TicketDoor | Runs | Spaces | Rest | DockerRun | Piston]
    doors = [Pages(static_dir()), Lists(desk), TicketDoor(desk), runs, Spaces(desk)]
    if desk.settings.adapters:
        doors += [Rest(runs), DockerRun(desk, runs), Piston(desk, runs)]
    routes = [route for door in doors for route in door.routes()]
    sockets = [MONITOR_PATH, RUN_PATH, f"{RUN_PATH}/{{language:.*}}"]
    if desk.settings.adapters:
        sockets.append(PISTON_PATH)
    routes += [web.get(path, _speaks_websocket) for path in sockets]
    return routes


def _answering(desk: Desk) -> Middleware:
    """Return what stands around every handler."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if not HttpVersion10 <= request.version <= HttpVersion11:
                return _last(answers.error(505, "bad_request", "this port speaks HTTP/1.1"))
            codings = request.headers.getall("Transfer-Encoding", ())
            if codings and (request.version < HttpVersion11 or not _are_chunks(codings)):
                # RFC 9112 section 6.1: where such a request ends is read differently elsewhere.
                message = f"Transfer-Encoding may be chunked, with HTTP/1.1; it is {codings[0]!r}"
                return _last(answers.error(400, "bad_request", message[:200]))
            if request.path not in PROBES:
                desk.access.check_host(asking.header_values(request))
            response = await _handled(desk, request, handler)
        except AccessError as exc:
            response = response_of(exc.answer())
        if not response.prepared:
            _let_page_read(desk, request, response)
        return response

    return answer


async def _handled(desk: Desk, request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return what a handler answers, or how it refuses.

    Raises:
        AccessError: For who asks.
    """
    try:
        return await handler(request)
    except RequestError as exc:
        response = response_of(answers.error(exc.status, exc.code, exc.message, exc.retry_after_s))
        response.headers.update(exc.headers)
    except WsrunnerError as exc:
        response = response_of(answers.of_error(exc))
    except web.HTTPMethodNotAllowed as exc:
        allowed = ", ".join(sorted(exc.allowed_methods))
        if asking.is_preflight(request):
            asking.allow_origin(desk, request)
            return asking.preflight(allowed)
        response = response_of(
            answers.error(
                405, "method_not_allowed", f"{request.method} is not allowed here; use {allowed}"
            )
        )
        response.headers["Allow"] = allowed
    except web.HTTPNotFound:
        response = response_of(nothing_at(request.path))
    return response


def _let_page_read(desk: Desk, request: web.Request, response: web.StreamResponse) -> None:
    """Let pages of allowed origins read an answer."""
    if "Access-Control-Allow-Origin" in response.headers:
        return
    try:
        response.headers.extend(asking.allow_origin(desk, request))
    except OriginError:
        return


async def _finish_head(request: web.Request, response: web.StreamResponse) -> None:
    """Say nothing of versions; make the answer the last one if no more requests come.

    Likewise where the connection's end is the answer's: HTTP/1.0 knows no chunks.
    """
    response.headers["Server"] = SERVER
    half_closed = isinstance(request.protocol, Exchange) and request.protocol.half_closed
    if half_closed or (request.version < HttpVersion11 and response.content_length is None):
        response.force_close()
        response.headers["Connection"] = "close"


def _are_chunks(codings: Sequence[str]) -> bool:
    return [coding.strip().lower() for coding in codings] == ["chunked"]


def _last(answer: answers.Answer) -> web.Response:
    """Return an answer behind which the connection ends."""
    response = response_of(answer)
    response.force_close()
    return response


async def _speaks_websocket(request: web.Request) -> web.StreamResponse:
    """Answer a GET where sockets are, and a handshake that comes behind other requests."""
    message = f"GET {request.path[:100]} speaks WebSocket only"
    if "Upgrade" in request.headers:
        message = "a WebSocket needs a connection of its own: this one has carried other requests"
    response = response_of(answers.error(426, "upgrade_required", message))
    response.headers["Upgrade"] = "websocket"
    return response
