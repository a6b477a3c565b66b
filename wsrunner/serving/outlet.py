"""The way out of a socket: sends, and drops a client that takes nothing.

Owns how long a client is waited for, and what may lie unsent for it. Must not know what the
messages say.
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
FAREWELL_S = 0.5
"""What a client gets for its half of the TCP connection's end, once it has sent a close frame."""
PONGS_MAX_BYTES = 64 * 1024
"""Unread answers to a client's pings; `websockets` writes them without flow control."""
CLOSE_REASON_MAX_BYTES = 123
"""RFC 6455 section 5.5: a control frame holds 125 bytes, two of which are the code."""


class Connection(ServerConnection):
    """A socket whose client can neither fill memory nor keep its runs by not reading."""

    _unread_pongs_bytes = 0
    _farewell: asyncio.TimerHandle | None = None
    _heard_s = 0.0

    def silent_s(self) -> float:
        """Return for how long nothing has come, not even a pong.

        0 while output waits to be read, as a pong waits behind it: how slow a client may be is for
        `slow_client_s` to say.
        """
        if self.transport.get_write_buffer_size():
            return 0.0
        return self.loop.time() - self._heard_s

    def data_received(self, data: bytes) -> None:
        """Called by the transport; what this writes are pongs and the answer to a close frame."""
        self._heard_s = self.loop.time()
        before = self.transport.get_write_buffer_size()
        super().data_received(data)
        unsent = self.transport.get_write_buffer_size()
        self._unread_pongs_bytes = self._unread_pongs_bytes + unsent - before if unsent else 0
        if self._unread_pongs_bytes > PONGS_MAX_BYTES:
            log.info("dropped a client that pings and does not read")
            self.transport.abort()
        if self._farewell is None and self.protocol.close_rcvd is not None:
            # Behind output that it no longer reads, the close frame's answer would not get through.
            self._farewell = self.loop.call_later(FAREWELL_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport at its end."""
        if self._farewell is not None:
            self._farewell.cancel()
        super().connection_lost(exc)


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
        try:
            async with asyncio.timeout(self._slow_client_s):
                await self._connection.send(message, text=text)
        except ConnectionClosed as exc:
            raise ReaderGoneError from exc
        except TimeoutError as exc:
            await self.drop()
            raise ReaderGoneError from exc

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
