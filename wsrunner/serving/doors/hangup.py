"""When a client that waits for an answer counts as gone.

Owns that closing, of half a connection too, is hanging up while a program runs for somebody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aiohttp import web

from wsrunner.serving.doors.body import RequestError, exchange_of


@contextlib.contextmanager
def carrying(request: web.Request) -> Iterator[None]:
    """Take the client's closing, of its half too, for hanging up during the block.

    Raises:
        RequestError: It has closed already.
    """
    exchange = exchange_of(request)
    if exchange.half_closed:
        raise RequestError(
            400,
            "bad_request",
            "the client has closed its half of the connection; keep it open, as closing cancels",
        )
    with exchange.carrying():
        yield
