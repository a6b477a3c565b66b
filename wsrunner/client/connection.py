"""One WebSocket to a server: opened, kept alive, cut; its failures are this client's errors.

Owns what the client knows about the library underneath. What the messages mean is not its business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from wsrunner import protocol
from wsrunner.address import is_loopback
from wsrunner.client import errors
from wsrunner.client.errors import ConnectError, ConnectionLostError
from wsrunner.units import MIB

PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.0
MESSAGE_MAX_BYTES = 16 * MIB


class _Connect(connect):
    """`connect` that follows no redirect: the access token is for the named server alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Connection:
    """An open WebSocket; `open` makes it, `close` or `cut` ends it.

    Attributes:
        held: Nothing is received now; see `hold`.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.held = False
        self._socket = socket
        self._holds = 0

    @classmethod
    async def open(
        cls, address: str, shown: str, headers: Mapping[str, str], open_timeout_s: float
    ) -> Self:
        """Open a WebSocket.

        Args:
            address: Its URL.
            shown: The server's URL as it may be shown.
            headers: Headers of the handshake.
            open_timeout_s: Longest time, in seconds.

        Raises:
            ConnectError: Nothing answers there, or not with a WebSocket; the message says why.
        """
        try:
            socket = await _Connect(
                address,
                subprotocols=[Subprotocol(protocol.SUBPROTOCOL)],
                compression=None,
                additional_headers=headers,
                # A local server is never behind the proxy that the environment names.
                proxy=None if is_loopback(address) else True,
                open_timeout=open_timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MESSAGE_MAX_BYTES,
                # `keep_alive` does it: it knows when this side is what holds up the pong.
                ping_interval=None,
            )
        except InvalidStatus as exc:
            answer = exc.response
            location = answer.headers.get("Location")
            raise errors.refused(shown, answer.status_code, answer.body, location) from exc
        except TimeoutError as exc:
            raise ConnectError(f"no answer from {shown} in {open_timeout_s:g} s") from exc
        except (InvalidHandshake, InvalidURI) as exc:
            raise ConnectError(f"{shown} is not a wsrunner server: {exc}") from exc
        except OSError as exc:
            raise errors.unreachable(shown, exc) from exc
        return cls(socket)

    async def send(self, text: str) -> None:
        """Send a message.

        Raises:
            ConnectionLostError: The connection is gone.
        """
        try:
            await self._socket.send(text)
        except ConnectionClosed as exc:
            raise _lost(exc) from exc

    async def receive(self) -> str | bytes:
        """Return the next message. Cancelling is safe: none is lost.

        Raises:
            ConnectionLostError: The connection ended, and all that came has been returned.
        """
        try:
            return await self._socket.recv()
        except ConnectionClosed as exc:
            raise _lost(exc) from exc

    async def hold(self, reason: Awaitable[None]) -> None:
        """Wait for `reason`, during which nothing is received; `keep_alive` bears with that."""
        self.held = True
        self._holds += 1
        await reason
        self.held = False

    async def keep_alive(self) -> None:
        """Ping until the connection ends.

        A pong waits behind the output before it. While a slow consumer holds that up, its absence
        says nothing about the server; the keepalive of websockets would hang up nevertheless.

        Raises:
            ConnectionLostError: No pong came. The connection is still to be cut.
        """
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(PING_INTERVAL_S)
                holds = self._holds
                try:
                    async with asyncio.timeout(PING_TIMEOUT_S):
                        await (await self._socket.ping())
                except TimeoutError:
                    if self.held or self._holds != holds:
                        continue
                    raise ConnectionLostError(
                        f"the server did not answer a ping in {PING_TIMEOUT_S:g} s"
                    ) from None

    async def close(self) -> None:
        """Close in order if the server plays along, within two `CLOSE_TIMEOUT_S`."""
        try:
            # close() waits for a drain first, which a server that reads nothing never grants.
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await self._socket.close()
        except (TimeoutError, AttributeError):  # the latter as in `cut`
            pass
        finally:
            self.cut()

    def cut(self) -> None:
        """Cut the connection, whatever waits to be sent on it."""
        # One that was closed with data to send, and has just got rid of it, has no loop any more
        # (CPython 3.11, selector transports).
        with suppress(AttributeError):
            self._socket.transport.abort()


def token_headers(token: str | None) -> dict[str, str]:
    """Return the headers that carry an access token, if there is one.

    Raises:
        ValueError: It can't be a header.
    """
    if token is not None and not (token.isascii() and token.isprintable()):
        raise ValueError("the access token must be printable ASCII, without line ends")
    return {"X-Access-Token": token} if token else {}


def _lost(exc: ConnectionClosed) -> ConnectionLostError:
    return errors.lost(*((exc.rcvd.code, exc.rcvd.reason) if exc.rcvd else (None, "")))
