"""Plain HTTP on the WebSocket port: who may connect, and what GET answers.

Owns routes, access and status codes. Called by `server` for each request before the WebSocket
handshake; must not touch sockets.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import http
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from websockets.datastructures import Headers, MultipleValuesError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from wsrunner import protocol
from wsrunner.errors import UnknownLanguageError, WsrunnerError
from wsrunner.runs.host import Host
from wsrunner.serving import asyncapi
from wsrunner.serving.metrics import CONTENT_TYPE, Metrics
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
        self._settings = settings
        self._host = host
        self._metrics = metrics
        self._files = StaticFiles(static_dir())
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.origin)

    async def respond(self, request: Request) -> Response | None:
        """Return the answer to one request; None if the WebSocket handshake may go on."""
        try:
            return await self._respond(request)
        except MultipleValuesError as exc:
            return _error(400, "bad_request", f"more than one header {exc.args[0]}")

    async def _respond(self, request: Request) -> Response | None:
        path = path_of(request)
        websocket = request.headers.get("Upgrade", "").lower() == "websocket"
        if request.method not in {"GET", "HEAD"}:
            response = _error(405, "method_not_allowed", f"{request.method} is not allowed here")
            response.headers["Allow"] = "GET, HEAD"
            return response
        if websocket:
            return self._refuse_socket(request, path)
        if path not in _PROBES and not self._host_allowed(request):
            host = request.headers.get("Host", "")[:100]
            response = _error(
                421, "host_not_allowed", f"the host {host!r} is not this server; see --origin"
            )
        else:
            response = await self._get(request, path)
        if request.method == "HEAD":
            response.body = b""
        return response

    def _refuse_socket(self, request: Request, path: str) -> Response | None:
        """Return why a WebSocket can't be opened; None if it can."""
        if path not in SOCKET_PATHS and not path.startswith(f"{RUN_PATH}/"):
            return _error(404, "not_found", f"no WebSocket at {path[:100]}; there is {RUN_PATH}")
        if not self._origin_allowed(request):
            origin = request.headers.get("Origin", "")[:100]
            return _error(
                403, "origin_not_allowed", f"the origin {origin!r} is not allowed; see --origin"
            )
        if not self._token_given(request, path):
            return _unauthorized()
        if self._host.draining:
            # A balancer then tries the next replica; an open socket it could not move.
            return _error(503, "draining", "the server is stopping")
        if path.startswith(f"{RUN_PATH}/"):
            try:
                self._host.catalogue.find(path.removeprefix(f"{RUN_PATH}/"))
            except UnknownLanguageError as exc:
                return _error(404, exc.code, exc.message)
        return None

    def _origin_allowed(self, request: Request) -> bool:
        """Whether the page that connects, if it is one, is our own or on the list.

        On a loopback address our own has a loopback name: any other name that leads here is a
        foreign page whose owner points it at this machine (DNS rebinding).
        """
        origins = request.headers.get_all("Origin")
        if not origins:
            return True
        origin = origins[0].rstrip("/").lower()
        if len(origins) > 1 or origin in self._origins:
            return len(origins) == 1
        host = request.headers.get("Host", "").lower()
        try:
            own = urlsplit(origin).netloc == host and host != ""
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            # An unfinished IPv6 address, for one.
            return False
        return own and (is_loopback(name) or not is_loopback(self._settings.host))

    def _host_allowed(self, request: Request) -> bool:
        """Whether the name asked for can be ours, where no token guards what is read.

        On a loopback address any other name is a foreign page's; see `_origin_allowed`.
        """
        host = request.headers.get("Host")
        if host is None or self._settings.token or not is_loopback(self._settings.host):
            return True
        try:
            name = urlsplit(f"//{host.lower()}").hostname or ""
            listed = {urlsplit(origin).hostname for origin in self._origins}
        except ValueError:
            return False
        return is_loopback(name) or name in listed

    def _token_given(self, request: Request, path: str) -> bool:
        wanted = self._settings.token
        if path == MONITOR_PATH:
            wanted = self._settings.operator_token or wanted
        if not wanted:
            return True
        expected = wanted.encode()
        return any(
            hmac.compare_digest(token.encode(), expected) for token in _tokens(request.headers)
        )

    async def _get(self, request: Request, path: str) -> Response:
        if path in _OPEN_PATHS or path.startswith("/static/"):
            return await self._get_open(request, path)
        if path in SOCKET_PATHS or path.startswith(f"{RUN_PATH}/"):
            response = _error(426, "upgrade_required", f"{path[:100]} speaks WebSocket only")
            response.headers["Upgrade"] = "websocket"
            return response
        guarded = {"/v1/languages": self._languages, "/metrics": self._figures}
        if path not in guarded:
            return _error(404, "not_found", f"there is nothing at {path[:100]}")
        return await guarded[path]() if self._token_given(request, path) else _unauthorized()

    async def _get_open(self, request: Request, path: str) -> Response:
        """Answer what needs no token."""
        if path == "/healthz":
            return _json(200, {"status": "ok"})
        if path == "/readyz":
            return await self._ready()
        if path == "/v1/asyncapi.json":
            return _response(200, _asyncapi(), "application/json")
        return self._file(request, path)

    async def _ready(self) -> Response:
        if self._host.draining:
            return _error(503, "draining", "the server is stopping")
        try:
            await self._host.engine.ping()
            await self._host.gate.state()
        except WsrunnerError as exc:
            return _error(503, exc.code, exc.message)
        return _json(200, {"status": "ready"})

    async def _figures(self) -> Response:
        pool = self._host.pool
        gate = None
        with contextlib.suppress(WsrunnerError):
            gate = await self._host.gate.state()
        text = self._metrics.render(
            gate=gate, warm=pool.sizes(), pool_hits=pool.hits, pool_misses=pool.misses
        )
        return _response(200, text, CONTENT_TYPE)

    async def _languages(self) -> Response:
        try:
            present = await self._host.engine.images()
        except WsrunnerError as exc:
            return _error(503, exc.code, exc.message)
        listed = [language.facts(present) for language in self._host.catalogue]
        return _json(200, listed)

    def _file(self, request: Request, path: str) -> Response:
        name = _PAGES.get(path) or path.removeprefix("/static/")
        file = self._files.find(name, ",".join(request.headers.get_all("Accept-Encoding")))
        if file is None:
            return _error(404, "not_found", f"there is nothing at {path[:100]}")
        tags = {tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")}
        response = (
            _response(304, b"", file.kind)
            if file.tag in tags
            else _response(200, file.body, file.kind)
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


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tokens(headers: Headers) -> Iterable[str]:
    """Yield every token a request carries, in the three ways there are."""
    yield from headers.get_all("X-Access-Token")
    for value in headers.get_all("Authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            yield token.strip()
    for value in headers.get_all("Sec-WebSocket-Protocol"):
        for entry in value.split(","):
            if entry.strip().startswith(protocol.TOKEN_SUBPROTOCOL_PREFIX):
                yield entry.strip().removeprefix(protocol.TOKEN_SUBPROTOCOL_PREFIX)


def _response(status: int, body: bytes, kind: str) -> Response:
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
    )
    return Response(status, http.HTTPStatus(status).phrase, headers, body)


def _json(status: int, value: Any) -> Response:
    response = _response(status, msgspec.json.encode(value) + b"\n", "application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _error(status: int, code: str, message: str) -> Response:
    return _json(status, {"code": code, "message": message})


def _unauthorized() -> Response:
    response = _error(
        401,
        "unauthorized",
        "an access token is needed: X-Access-Token, Authorization: Bearer, or the subprotocol "
        f"{protocol.TOKEN_SUBPROTOCOL_PREFIX}TOKEN beside {protocol.SUBPROTOCOL}",
    )
    response.headers["WWW-Authenticate"] = "Bearer"
    return response
