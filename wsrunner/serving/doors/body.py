"""A request's body, read within bounds.

Owns how large it may be, how long it may take, and what it may be encoded in.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from wsrunner.errors import TooLargeError, WsrunnerError
from wsrunner.serving.doors.exchange import Exchange
from wsrunner.serving.inlet import Inlet

BODY_S = 30.0
"""How long a client may take over a body."""
RETRY_AFTER_S = 5.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestError(WsrunnerError):
    """A request that is refused for its form.

    Args:
        status: The HTTP status code.
        code: The error's code.
        message: What is wrong.
        headers: Of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code  # type: ignore[misc]  # the class' in all others
        self.headers = headers or {}


class _Holder:
    """Counts one body's bytes; see `inlet.Taker`."""

    wants_turn = False

    def __init__(self, limit: asyncio.Timeout) -> None:
        self.reason: str | None = None
        self._limit = limit

    def take_turn(self, units: int) -> int:
        """See `inlet.Taker`: bodies have no turns, as each is read by a task of its own."""
        del units
        return 0

    def overdraw(self, reason: str) -> None:
        """See `inlet.Taker`: whoever waits for the rest of it is woken."""
        self.reason = reason
        self._limit.reschedule(asyncio.get_running_loop().time())


def check_kind(request: web.BaseRequest, kind: str) -> None:
    """Refuse a body of another media type.

    Raises:
        RequestError: It is one.
    """
    if request.content_type != kind:
        raise RequestError(
            415,
            "unsupported_media_type",
            f"the body is {request.headers.get('Content-Type', 'of no media type')[:100]!r}; "
            f"send it as Content-Type: {kind}",
        )


async def read_body(request: web.BaseRequest, max_bytes: int, inlet: Inlet) -> bytes:
    """Return a request's whole body.

    Args:
        request: Whose.
        max_bytes: Largest size that is taken.
        inlet: Counts what all bodies and messages hold.

    Raises:
        RequestError: It is encoded, ends early, takes too long, or there is no room for it now.
        TooLargeError: It is larger.

    Cancelling is safe.
    """
    _check_form(request, max_bytes)
    exchange = exchange_of(request)
    if exchange.half_closed:
        exchange.end_body(request)
    if request.content.is_eof():
        # It has come with its head, as most do: there is nothing to wait for.
        body = request.content.read_nowait()
        if len(body) > max_bytes:
            raise _too_large(str(len(body)), max_bytes)
    else:
        body = await _wait_for_body(request, max_bytes, inlet)
    if exchange.crumbs:
        raise RequestError(400, "bad_request", exchange.crumbs)
    if exchange.body_cut:
        of = "" if request.content_length is None else f" of {request.content_length}"
        raise RequestError(
            400, "bad_request", f"the connection was closed after {len(body)}{of} bytes of the body"
        )
    return body


def exchange_of(request: web.BaseRequest) -> Exchange:
    """Return the connection that a request has come by."""
    assert isinstance(request.protocol, Exchange)
    return request.protocol


async def _wait_for_body(request: web.BaseRequest, max_bytes: int, inlet: Inlet) -> bytes:
    """Return a body that is still coming; see `read_body`."""
    limit = asyncio.timeout(BODY_S)
    holder = _Holder(limit)
    body = bytearray()
    try:
        async with limit:
            if request.headers.get("Expect") and request.transport is not None:
                request.transport.write(_CONTINUE)
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > max_bytes:
                    raise _too_large(f"more than {max_bytes}", max_bytes)
                inlet.hold(holder, len(body))
    except TimeoutError as exc:
        if holder.reason is not None:
            refusal = RequestError(503, "busy", holder.reason)
            refusal.retry_after_s = RETRY_AFTER_S
            raise refusal from exc
        raise RequestError(
            408, "timeout", f"the body has not come within {BODY_S:g} s; {len(body)} bytes have"
        ) from exc
    except web.RequestPayloadError as exc:
        raise RequestError(400, "bad_request", "the body's chunks make no sense") from exc
    finally:
        inlet.hold(holder, 0)
    return bytes(body)


async def no_continue(request: web.BaseRequest) -> None:
    """Let the body wait until it is wanted: `read_body` says so, after all checks of the head."""


def _check_form(request: web.BaseRequest, max_bytes: int) -> None:
    expected = request.headers.get("Expect", "100-continue")
    if expected.lower() != "100-continue":
        raise RequestError(417, "bad_request", f"nothing here can meet {expected[:100]!r}")
    coding = request.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise RequestError(
            415,
            "unsupported_content_coding",
            f"the body has the coding {coding[:100]!r}; send it without",
            {"Accept-Encoding": "identity"},
        )
    if request.content_length is not None and request.content_length > max_bytes:
        raise _too_large(str(request.content_length), max_bytes)


def _too_large(size: str, max_bytes: int) -> TooLargeError:
    return TooLargeError(f"the body has {size} bytes; the limit is {max_bytes} bytes")
