"""Who asks over HTTP, from which page, and what it may take.

Owns how a request becomes a principal, and the rules for pages of other origins (CORS, WHATWG
Fetch section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from wsrunner.runs.job import Principal
from wsrunner.serving.access import HeaderValues
from wsrunner.serving.desk import Desk

PREFLIGHT_KEPT_S = 600
_ALLOWED_HEADERS = (
    "Accept, Authorization, Content-Type, Last-Event-ID, Mcp-Method, Mcp-Name, "
    "Mcp-Protocol-Version, Mcp-Session-Id, Prefer, Run-Key, X-Access-Token"
)
_SHOWN_HEADERS = "Location, Mcp-Session-Id, Retry-After, Wsrunner-Run"


def header_values(request: web.BaseRequest) -> HeaderValues:
    """Return what looks up a request's headers."""

    def values(name: str) -> Sequence[str]:
        return request.headers.getall(name, ())

    return values


def asker(desk: Desk, request: web.BaseRequest) -> Principal:
    """Return who asks for what needs the access token.

    Raises:
        UnauthorizedError: It has none.
    """
    return desk.access.user(header_values(request), request.remote or "")


def allow_origin(desk: Desk, request: web.BaseRequest) -> dict[str, str]:
    """Return the headers that let the request's page read the answer, if it comes from one.

    Raises:
        OriginError: It is a foreign page.
    """
    origins = request.headers.getall("Origin", ())
    if not origins:
        return {}
    desk.access.check_origin(header_values(request))
    return {
        "Access-Control-Allow-Origin": origins[0],
        "Access-Control-Expose-Headers": _SHOWN_HEADERS,
        "Vary": "Origin",
    }


def is_preflight(request: web.BaseRequest) -> bool:
    """Whether a browser asks whether its page may ask."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def preflight(methods: str) -> web.Response:
    """Return the answer to a page's question whether it may ask."""
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_KEPT_S),
        },
    )
