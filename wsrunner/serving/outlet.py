"""The way out of a socket: sends, and drops a client that takes nothing.

Owns how long a client is waited for. Must not know what the messages say.
"""

from __future__ import annotations

import asyncio
import logging

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from wsrunner import protocol
from wsrunner.runs.delivery import ReaderGoneError

log = logging.getLogger(__name__)

CLOSE_GRACE_S = 2.0
CLOSE_REASON_MAX_BYTES = 123
"""RFC 6455 section 5.5: a control frame holds 125 bytes, two of which are the code."""


class Outlet:
    """Sends on one socket, and drops a client that takes nothing."""

    def __init__(self, connection: ServerConnection, slow_client_s: float) -> None:
        self._connection = connection
        self._slow_client_s = slow_client_s

    async def send(self, message: bytes, *, text: bool) -> None:
        """Send one message, as text (then it is UTF-8) or binary; waits while the client is behind.

        Raises:
            ReaderGoneError: The client is gone, or has just been dropped.
        """
        if self._is_clear():
            # Nobody has to be waited for: half of the time that `send` takes.
            if text:
                self._connection.protocol.send_text(message)
            else:
                self._connection.protocol.send_binary(message)
            self._connection.send_data()
            return
        try:
            async with asyncio.timeout(self._slow_client_s):
                await self._connection.send(message, text=text)
        except ConnectionClosed as exc:
            raise ReaderGoneError from exc
        except TimeoutError as exc:
            await self.drop()
            raise ReaderGoneError from exc

    def _is_clear(self) -> bool:
        """Whether the socket took all that was sent before; messages are sent whole, always."""
        connection = self._connection
        return (
            connection.protocol.state is State.OPEN
            and not connection.protocol.close_expected()
            and not connection.transport.is_closing()
            and not connection.transport.get_write_buffer_size()
        )

    async def close(self, code: int, reason: str) -> None:
        """Close in order, waiting for the client's half; after a while without."""
        cut = reason.encode()[:CLOSE_REASON_MAX_BYTES].decode(errors="ignore")
        await self._connection.close(code, cut)

    async def drop(self) -> None:
        """Close with 4408, giving the client a moment to take that, then cut the connection.

        Nothing happens if the connection is closed already.
        """
        try:
            if self._connection.state is State.OPEN:
                log.info("dropped a client that reads too slowly (%d)", protocol.CLOSE_SLOW_CLIENT)
                reason = f"output was not read within {self._slow_client_s:g} s"
                # It waits for the write buffer to drain, which such a client may never let happen.
                async with asyncio.timeout(CLOSE_GRACE_S):
                    await self.close(protocol.CLOSE_SLOW_CLIENT, reason)
        except TimeoutError:
            pass
        finally:
            self._connection.transport.abort()
