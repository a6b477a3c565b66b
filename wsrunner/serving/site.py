"""Plain HTTP on the WebSocket port: what GET answers, and which sockets may open.

Owns routes and status codes; who may do what is `access`'s. Called by `server` for each request
before the WebSocket handshake; must not touch sockets.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import msgspec
from websockets.datastructures import MultipleValuesError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from wsrunner import protocol
from wsrunner.errors import UnknownLanguageError, WsrunnerError
from wsrunner.runs.host import Host
from wsrunner.runs.job import Principal
from wsrunner.serving import answers, asyncapi
from wsrunner.serving.access import Access, AccessError, UnauthorizedError
from wsrunner.serving.metrics import CONTENT_TYPE, Metrics
from wsrunner.serving.readiness import Readiness
from wsrunner.serving.static_files import StaticFiles, static_dir
from wsrunner.settings import Settings

RUN_PATH = "/v1/run"
MONITOR_PATH = "/v1/monitor"
SOCKET_PATHS = (RUN_PATH, MONITOR_PATH)
_PAGES = {"/": "index.html", "/monitor": "monitor.html"}
_OPEN_PATHS = frozenset({*_PAGES, "/healthz", "/readyz", "/v1/asyncapi.json"})
_PROBES = frozenset({"/healthz", "/readyz"})
# Scripts come from here alone. Styles may be inline: CodeMirror and xterm.js write theirs into
# style elements and attributes, and xterm.js knows no nonce.
_POLICY = "; ".join(  # noqa: FLY002 - one directive a line
    (
        "default-src 'none'",
        "script-src 'self'",
        "script-src-attr 'none'",
        "require-trusted-types-for 'script'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class Site:
    """Answers HTTP requests, and lets WebSocket requests pass that may.

    Args:
        settings: Token, origins and address.
        host: What the lists and checks are read from.
        metrics: What ``/metrics`` shows.
    """

    def __init__(self, settings: Settings, host: Host, metrics: Metrics) -> None:
        self._access = Access(settings)
        self._host = host
        self._readiness = Readiness(host)
        self._metrics = metrics
        self._files = StaticFiles(static_dir())

    async def respond(self, request: Request, client: str) -> Response | Principal:
        """Return the answer to one request, or who it is whose WebSocket handshake may go on.

        Args:
            request: Its head.
            client: The address it came from.
        """
        try:
            if request.method not in {"GET", "HEAD"}:
                response = answers.error(
                    405, "method_not_allowed", f"{request.method} is not allowed here"
                )
                response.headers["Allow"] = "GET, HEAD"
                return response
            path = path_of(request)
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return self._socket(request, path, client)
            if path not in _PROBES:
                self._access.check_host(request.headers)
            response = await self._get(request, path, client)
        except MultipleValuesError as exc:
            return answers.error(400, "bad_request", f"more than one header {exc.args[0]}")
        except AccessError as exc:
            response = answers.error(exc.status, exc.code, exc.message)
            if isinstance(exc, UnauthorizedError):
                response.headers["WWW-Authenticate"] = "Bearer"
        if request.method == "HEAD":
            response.body = b""
        return response

    def _socket(self, request: Request, path: str, client: str) -> Response | Principal:
        """Return why a WebSocket can't be opened, or whose it is.

        Raises:
            AccessError: For who asks.
        """
        if path not in SOCKET_PATHS and not path.startswith(f"{RUN_PATH}/"):
            return answers.error(
                404, "not_found", f"no WebSocket at {path[:100]}; there is {RUN_PATH}"
            )
        self._access.check_origin(request.headers)
        ask = self._access.operator if path == MONITOR_PATH else self._access.user
        principal = ask(request.headers, client)
        if self._host.draining:
            # A balancer then tries the next replica; an open socket it could not move.
            return answers.error(503, "draining", "the server is stopping")
        if path.startswith(f"{RUN_PATH}/"):
            try:
                self._host.catalogue.find(path.removeprefix(f"{RUN_PATH}/"))
            except UnknownLanguageError as exc:
                return answers.error(404, exc.code, exc.message)
        return principal

    async def _get(self, request: Request, path: str, client: str) -> Response:
        """Answer a GET.

        Raises:
            UnauthorizedError: It needs a token.
        """
        if path in _OPEN_PATHS or path.startswith("/static/"):
            return await self._get_open(request, path)
        if path in SOCKET_PATHS or path.startswith(f"{RUN_PATH}/"):
            response = answers.error(426, "upgrade_required", f"{path[:100]} speaks WebSocket only")
            response.headers["Upgrade"] = "websocket"
            return response
        guarded = {"/v1/languages": self._languages, "/metrics": self._figures}
        if path not in guarded:
            return answers.error(404, "not_found", f"there is nothing at {path[:100]}")
        self._access.user(request.headers, client)
        return await guarded[path]()

    async def _get_open(self, request: Request, path: str) -> Response:
        """Answer what needs no token."""
        if path == "/healthz":
            return answers.json(200, {"status": "ok"})
        if path == "/readyz":
            return await self._ready()
        if path == "/v1/asyncapi.json":
            return answers.answer(200, _asyncapi(), "application/json")
        return self._file(request, path)

    async def _ready(self) -> Response:
        if self._host.draining:
            return answers.error(503, "draining", "the server is stopping")
        failure = await self._readiness.failure()
        if failure is not None:
            return answers.error(503, failure.code, failure.message)
        return answers.json(200, {"status": "ready"})

    async def _figures(self) -> Response:
        pool = self._host.pool
        gate = None
        with contextlib.suppress(WsrunnerError):
            gate = await self._host.gate.state()
        text = self._metrics.render(
            gate=gate, warm=pool.sizes(), pool_hits=pool.hits, pool_misses=pool.misses
        )
        return answers.answer(200, text, CONTENT_TYPE)

    async def _languages(self) -> Response:
        try:
            present = await self._host.engine.images()
        except WsrunnerError as exc:
            return answers.error(503, exc.code, exc.message)
        listed = [language.facts(present) for language in self._host.catalogue]
        return answers.json(200, listed)

    def _file(self, request: Request, path: str) -> Response:
        name = _PAGES.get(path) or path.removeprefix("/static/")
        file = self._files.find(name, ",".join(request.headers.get_all("Accept-Encoding")))
        if file is None:
            return answers.error(404, "not_found", f"there is nothing at {path[:100]}")
        tags = {tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")}
        response = (
            answers.answer(304, b"", file.kind)
            if file.tag in tags
            else answers.answer(200, file.body, file.kind)
        )
        headers = response.headers
        headers["ETag"] = file.tag
        headers["Cache-Control"] = file.cache_control
        headers["Vary"] = "Accept-Encoding"
        if file.coding and response.body:
            headers["Content-Encoding"] = file.coding
        if file.kind.startswith("text/html"):
            headers["Content-Security-Policy"] = _POLICY
        else:
            # Other sites' pages may load the client and the widget; who may connect is decided
            # at the handshake.
            headers["Access-Control-Allow-Origin"] = "*"
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response


@functools.cache
def _asyncapi() -> bytes:
    """Return the document as JSON: it says the same for as long as the process lives."""
    return msgspec.json.encode(asyncapi.document()) + b"\n"


def path_of(request: Request) -> str:
    """Return the path that a request asks for, decoded; empty if there is none to make out."""
    try:
        return unquote(urlsplit(request.path).path)
    except ValueError:
        return ""


def choose_subprotocol(offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Return the subprotocol to answer with: ours if offered, never the one with the token."""
    return next((name for name in offered if name == protocol.SUBPROTOCOL), None)
