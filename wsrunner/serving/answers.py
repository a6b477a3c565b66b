"""HTTP answers: how they look, whoever gives them.

Pure. What is answered to which request is `site`'s.
"""

from __future__ import annotations

import http
import math
from typing import Any

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Response


def answer(status: int, body: bytes, kind: str) -> Response:
    """Return an answer of a media type, the last one of its connection."""
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


def json(status: int, value: Any) -> Response:
    """Return a value as JSON, which nobody may keep."""
    response = answer(status, msgspec.json.encode(value) + b"\n", "application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def error(status: int, code: str, message: str, retry_after_s: float | None = None) -> Response:
    """Return an error, ``{"code":…,"message":…}``; with Retry-After where waiting helps."""
    response = json(status, {"code": code, "message": message})
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(math.ceil(retry_after_s))
    return response
