"""What a user of the client may have to catch, and which of it an answer or a failure means.

Imports nothing of this package, and no WebSocket.
"""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import urlsplit

from wsrunner import protocol
from wsrunner.errors import WsrunnerError

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_NOT_ALLOWED = 1008
CLOSE_TOO_BIG = 1009
CLOSE_INTERNAL = 1011
CLOSE_TRY_LATER = 1013
"""Close codes, RFC 6455 section 7.4.1 and the registry that it opens."""

_LOST = {
    CLOSE_NORMAL: "the server closed the connection",
    CLOSE_GOING_AWAY: "the server is going away (1001)",
    CLOSE_NOT_ALLOWED: "the server does not allow this (1008)",
    CLOSE_TOO_BIG: "a message was larger than the server takes (1009)",
    CLOSE_INTERNAL: "the server failed (1011)",
    CLOSE_TRY_LATER: "the server is too busy (1013): try again later",
    protocol.CLOSE_SLOW_CLIENT: "the server gave up: no output was taken for too long (4408)",
}


class RunRefusedError(WsrunnerError):
    """The server answered with ``error``.

    Attributes:
        code: The wire code, such as ``unknown_language`` or ``queue_full``.
        message: What is wrong, naming the value, the limit and the unit.
        path: The place in the request, such as ``$.files[0].name``; None if no one place.
        retry_after_s: Seconds after which it may succeed; None where waiting won't help.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        path: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, path=path, retry_after_s=retry_after_s)
        # Here it is each error's own and not the class's: it came over the wire, and a newer server
        # may know codes that this client does not.
        self.code = code  # type: ignore[misc]


class ConnectError(ConnectionError):
    """No WebSocket to the server came about.

    Attributes:
        status: The HTTP status of its answer, such as 401; None if nothing answered.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ConnectionLostError(ConnectionError):
    """The connection ended before the run did. The server cancels the run.

    Attributes:
        close_code: The server's close code (RFC 6455 section 7.4); None if it broke off.
    """

    def __init__(self, message: str, *, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


def lost(close_code: int | None, reason: str) -> ConnectionLostError:
    """Return the error for a connection that ended.

    Args:
        close_code: The server's; None if the connection broke off without one.
        reason: The server's words beside it, perhaps empty.
    """
    if close_code is None:
        return ConnectionLostError("the connection to the server broke off")
    text = _LOST.get(close_code, f"the server closed the connection ({close_code})")
    return ConnectionLostError(f"{text}: {reason}" if reason else text, close_code=close_code)


def refused(
    url: str, status: int, body: bytes | bytearray | None, location: str | None
) -> ConnectError:
    """Return the error for an HTTP answer that is not the wanted one; it says what to do.

    Args:
        url: The server's, as it may be shown.
        status: The answer's status.
        body: Its body, as much as there is.
        location: Its ``Location`` header.
    """
    said = ""
    with suppress(ValueError, AttributeError):
        said = str(json.loads(body or b"").get("message", ""))
    match status:
        case 401:
            text = f"{url} needs an access token, or a different one (401)"
        case 403:
            text = f"{url} does not allow this client (403)"
        case 404 | 405 | 426:
            text = f"{url} has no wsrunner at this path ({status})"
        case _ if location and 300 <= status < 400:  # noqa: PLR2004 - the redirects of HTTP
            where = urlsplit(location)
            text = f"{url} redirects to {where.scheme}://{where.netloc} ({status}): name that one"
        case _:
            text = f"{url} answered with HTTP status {status}"
    return ConnectError(f"{text}: {said[:300]}" if said else text, status=status)


def unreachable(url: str, exc: OSError) -> ConnectError:
    """Return the error for a server that could not be spoken to.

    Args:
        url: The server's, as it may be shown.
        exc: Why not.
    """
    return ConnectError(f"no server at {url} ({_why(exc)})")


def _why(exc: OSError) -> str:
    """Say an OS error without its number and without the addresses asyncio puts into it."""
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused"
    reason = getattr(exc, "reason", None)  # urllib's URLError wraps the real one
    if isinstance(reason, OSError):
        return _why(reason)
    return (exc.strerror or str(exc) or type(exc).__name__).strip()
