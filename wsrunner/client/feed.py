"""The operators' feed: what a server does, as it tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from wsrunner.address import DEFAULT_URL, endpoint, neighbour, shown
from wsrunner.client.connection import Connection, token_headers
from wsrunner.client.errors import ConnectionLostError

OPEN_TIMEOUT_S = 10.0
SILENCE_MAX_S = 30.0
"""The feed says something each second, so this long a silence is a lost connection."""


async def watch(
    url: str = DEFAULT_URL, token: str | None = None
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the messages of the operators' feed, ``WS /v1/monitor``, until the connection ends.

    Args:
        url: As for `Client`.
        token: The operator token where the server has one, else as for `Client`.

    Raises:
        ValueError: The URL is none, or the token can't be a header.
        ConnectError: Nothing answers there, or not with a WebSocket.
        ConnectionLostError: The connection ended.
    """
    address = endpoint(url)
    connection = await Connection.open(
        neighbour(address, "monitor"), shown(address), token_headers(token), OPEN_TIMEOUT_S
    )
    try:
        while True:
            try:
                async with asyncio.timeout(SILENCE_MAX_S):
                    message = await connection.receive()
            except TimeoutError as exc:
                raise ConnectionLostError(
                    f"the server said nothing for {SILENCE_MAX_S:g} s"
                ) from exc
            yield json.loads(message)
    finally:
        connection.cut()
