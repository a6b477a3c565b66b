"""A request of aiohttp's for an application that speaks ASGI 3.0, with its body read already.

Owns the translation (asgi.readthedocs.io, HTTP connection scope) and nothing of what is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

PRINCIPAL = "wsrunner.principal"
"""Where the scope says who asks, for applications that want to know."""
LEAVE_S = 5.0
"""How long an application may take to end once its client has gone; then it is cancelled."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


async def answer(
    request: web.BaseRequest,
    body: bytes,
    application: Application,
    *,
    scope: Mapping[str, Any],
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Let an application answer a request.

    Args:
        request: The request.
        body: All of it.
        application: What answers.
        scope: What it finds in its scope beside the request.
        headers: What its answer carries beside its own.

    Cancelling tells the application that its client has gone, and waits until it has ended.
    """
    exchange = _Answer(request, body, headers)
    scope = _scope(request) | dict(scope)
    task = asyncio.ensure_future(application(scope, exchange.receive, exchange.send))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        exchange.leave()
        await asyncio.wait([task], timeout=LEAVE_S)
        task.cancel()
        raise
    return exchange.response()


class _Answer:
    """One answer, from its beginning to its end."""

    def __init__(self, request: web.BaseRequest, body: bytes, headers: Mapping[str, str]) -> None:
        self._request = request
        self._body: bytes | None = body
        self._headers = headers
        self._response: web.StreamResponse | None = None
        self._gone = asyncio.Event()

    def leave(self) -> None:
        """Hear that the client has gone."""
        self._gone.set()

    async def receive(self) -> Message:
        """Return the body, and then that the client has gone, once it has."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer; nothing more to a client that has gone."""
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            headers = CIMultiDict(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message.get("headers", ())
            )
            headers.update(self._headers)
            self._response = web.StreamResponse(status=message["status"], headers=headers)
            return
        response = self.response()
        try:
            if not response.prepared:
                await response.prepare(self._request)
            if data := message.get("body"):
                await response.write(data)
            if not message.get("more_body"):
                await response.write_eof()
        except ConnectionError:
            self._gone.set()

    def response(self) -> web.StreamResponse:
        """Return the answer.

        Raises:
            RuntimeError: It has not begun.
        """
        if self._response is None:
            raise RuntimeError("the application has answered nothing")
        return self._response


def _scope(request: web.BaseRequest) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": f"{request.version.major}.{request.version.minor}",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.rel_url.raw_path.encode("latin-1"),
        "query_string": request.rel_url.raw_query_string.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": (request.remote or "", 0),
        "server": None,
    }
