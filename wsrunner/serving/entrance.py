"""Where every connection comes in: its first request's head says who is to have it.

Owns a connection until that head is there: how long it may take and how large it may be. WebSocket
handshakes go to `connection`, everything else to aiohttp's server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from websockets.asyncio.server import Server
from websockets.server import ServerProtocol

from wsrunner.serving import answers
from wsrunner.serving.connection import FAREWELL_S, Connection
from wsrunner.serving.inlet import Inlet
from wsrunner.serving.knocks import Knocks
from wsrunner.serving.tls import end_sending

HEAD_MAX_BYTES = 32 * 1024
"""Of a request: its line and its headers."""
LINE_MAX_BYTES = 8 * 1024
"""Of a request's line."""
OPEN_S = 5.0
"""How long a client may take over the head of its first request."""
_HEAD_END = b"\r\n\r\n"
_FORWARDED = re.compile(rb"\r\nx-forwarded-for:([^\r\n]*)", re.IGNORECASE)
_WEBSOCKET = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)


class Doorway:
    """What all connections share at the entrance.

    Args:
        inlet: The sockets' way in.
        knocks: How often an address may come.
    """

    def __init__(self, inlet: Inlet, knocks: Knocks) -> None:
        self.inlet = inlet
        self.knocks = knocks
        self.entering: set[Entrance] = set()
        self._open: Callable[[], asyncio.Protocol] | None = None

    def open(self, make: Callable[[], asyncio.Protocol]) -> None:
        """Serve HTTP from now on; whoever has come before is let in.

        Args:
            make: Makes the protocol of one connection.
        """
        self._open = make
        for entrance in list(self.entering):
            entrance.enter()

    @property
    def make(self) -> Callable[[], asyncio.Protocol] | None:
        """Makes the protocol of an HTTP connection; None as long as that is being loaded."""
        return self._open

    def close(self) -> None:
        """Let go of all who have not come in yet."""
        for entrance in list(self.entering):
            entrance.leave()


class Entrance(asyncio.Protocol):
    """One connection, from its beginning to the end of its first head.

    Args:
        protocol: What `websockets` has made for it, in case it is a socket.
        server: Of `websockets`.
        doorway: What all share.
        options: Of the socket.
    """

    __slots__ = (
        "_doorway",
        "_head",
        "_peer",
        "_socket",
        "_timer",
        "_told",
        "_transport",
        "_wait_s",
    )

    def __init__(
        self, protocol: ServerProtocol, server: Server, *, doorway: Doorway, **options: Any
    ) -> None:
        self._doorway = doorway
        self._socket = partial(Connection, protocol, server, inlet=doorway.inlet, **options)
        self._head = bytearray()
        self._told = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the transport at its beginning."""
        # uvloop's is none by inheritance.
        self._transport = cast("asyncio.Transport", transport)
        # A client that has gone already may have no address any more.
        peer = transport.get_extra_info("peername") or ("",)
        self._peer = str(peer[0])
        knocks = self._doorway.knocks
        # None until the head says who comes.
        self._wait_s = None if knocks.is_proxy(self._peer) else knocks.wait_s(self._peer)
        self._doorway.entering.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(OPEN_S, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport at its end."""
        del exc
        self._forget()

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if self._told:
            # Read all the same: TCP would cut the answer short if it lay unread.
            return
        self._head += data
        # RFC 9112 section 2.2: empty lines before a request are left over from another one.
        self._head = self._head.lstrip(b"\r\n")
        self.enter()

    def eof_received(self) -> bool | None:
        """Called by the transport; a client that has asked may close its half and read on."""
        if self._told or not self._head:
            return None
        # A head that is whole has been passed on, or what comes behind it is not read yet.
        self._refuse(400, "bad_request", "the request ends within its headers")
        return self._transport.can_write_eof()

    def enter(self) -> None:
        """Go where the request leads, if it is there and whoever is to have it is."""
        found = self._head.find(_HEAD_END)
        end = found + len(_HEAD_END)
        size = end if found >= 0 else len(self._head)
        if found >= 0 and self._wait_s is None:
            self._wait_s = self._doorway.knocks.wait_s_of(self._forwarded, self._peer)
        line = self._head.find(b"\r\n", 0, LINE_MAX_BYTES + 2)
        if line < 0 and size > LINE_MAX_BYTES:
            self._refuse(
                414, "too_large", f"the request's line is longer than {LINE_MAX_BYTES} bytes"
            )
        elif size > HEAD_MAX_BYTES:
            self._refuse(
                431,
                "too_large",
                f"the request's line and headers have {size} bytes or more; the limit is "
                f"{HEAD_MAX_BYTES} bytes",
            )
        elif found >= 0 and self._wait_s:
            self._refuse(
                429,
                "rate_limited",
                "this address opens connections too fast (--connections-per-s)",
                retry_after_s=self._wait_s,
            )
        elif found >= 0:
            self._hand_over(end)

    def _forwarded(self, _name: str) -> list[str]:
        """Return the values of X-Forwarded-For, the one header that says who comes."""
        end = self._head.find(_HEAD_END)
        return [value.decode("latin-1") for value in _FORWARDED.findall(self._head, 0, end)]

    def leave(self) -> None:
        """End it."""
        self._transport.abort()

    def _hand_over(self, end: int) -> None:
        if _WEBSOCKET.search(self._head, 0, end):
            socket = self._socket()
            self._pass_to(socket)
            socket.begin(bytes(self._head[:end]), bytes(self._head[end:]))
        elif self._doorway.make is None:
            self._transport.pause_reading()
        else:
            exchange = self._doorway.make()
            if not self._transport.is_reading():
                self._transport.resume_reading()
            self._pass_to(exchange)
            exchange.data_received(bytes(self._head))

    def _pass_to(self, heir: asyncio.Protocol) -> None:
        self._forget()
        self._transport.set_protocol(heir)
        heir.connection_made(self._transport)

    def _too_late(self) -> None:
        if self._head and not self._told:
            self._refuse(408, "timeout", f"the request's headers have not come within {OPEN_S:g} s")
        else:
            self.leave()

    def _refuse(
        self, status: int, code: str, message: str, *, retry_after_s: float | None = None
    ) -> None:
        """Answer what is no request, and give its client a moment to read that."""
        self._told = True
        self._head.clear()
        self._transport.write(answers.error(status, code, message, retry_after_s).serialize())
        end_sending(self._transport)
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(FAREWELL_S, self.leave)

    def _forget(self) -> None:
        self._timer.cancel()
        self._doorway.entering.discard(self)
