"""HTTP answers: how they look, whoever gives them, to whichever library they go.

Pure. What is answered to which request is `handshake`'s, for sockets, and `doors`', for all else.
"""

from __future__ import annotations

import http
import math
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wsrunner import protocol
from wsrunner.errors import WsrunnerError

_STATUS = {
    "bad_message": 400,
    "too_large": 413,
    "unknown_language": 404,
    "image_missing": 404,
    "limit_out_of_range": 400,
    "no_such_run": 404,
    "not_allowed": 403,
    "busy": 429,
    "rate_limited": 429,
    "queue_full": 503,
    "kept_full": 503,
    "no_such_room": 404,
    "rooms_full": 503,
    "workspace_unfit": 409,
    "no_such_workspace": 404,
    "workspaces_full": 503,
    "workspace_busy": 503,
    "workspace_elsewhere": 409,
    "gate_unavailable": 503,
    "engine_unavailable": 503,
    "draining": 503,
}
"""Of the errors that a client can be told; an error of the server's own is 500."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one request.

    Attributes:
        status: The status code.
        body: All of it.
        headers: By name, the media type among them.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def phrase(self) -> str:
        """What the status is called."""
        return http.HTTPStatus(self.status).phrase

    def serialize(self) -> bytes:
        """Return it as it is sent where no library has got the request: the last one there."""
        lines = [f"HTTP/1.1 {self.status} {self.phrase}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + self.body


def answer(status: int, body: bytes, kind: str) -> Answer:
    """Return an answer of a media type."""
    headers = {
        "Content-Type": kind,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return Answer(status, body, headers)


def json(status: int, value: Any) -> Answer:
    """Return a value as JSON, which nobody may keep."""
    response = answer(status, msgspec.json.encode(value) + b"\n", "application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def error(status: int, code: str, message: str, retry_after_s: float | None = None) -> Answer:
    """Return an error as sockets tell it; with Retry-After where waiting helps."""
    exc = WsrunnerError(message, retry_after_s=retry_after_s)
    told = msgspec.structs.replace(protocol.error_event(exc), code=code)
    response = json(status, told)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(math.ceil(retry_after_s))
    return response


def of_error(exc: WsrunnerError) -> Answer:
    """Return the answer that tells of an error."""
    response = json(status_of(exc), protocol.error_event(exc))
    if exc.retry_after_s is not None:
        response.headers["Retry-After"] = str(math.ceil(exc.retry_after_s))
    return response


def status_of(exc: WsrunnerError) -> int:
    """Return the status code of an error."""
    return _STATUS.get(exc.code, 500)
