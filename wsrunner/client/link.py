"""The client's connection to its server, made anew as long as there are runs to come back to.

Owns the socket and its tasks. What is said on it is the client's business.

::

    Link ── reader task ── hands each message to the client
         ├─ keepalive task ── finds out when the server is gone
         └─ comeback task ── after a loss, while there is a reason
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from wsrunner import protocol
from wsrunner.client.connection import Connection
from wsrunner.client.errors import (
    CLOSE_NOT_ALLOWED,
    CLOSE_TOO_BIG,
    ConnectError,
    ConnectionLostError,
)
from wsrunner.errors import BadMessageError

AGAIN_S = 0.1
AGAIN_MAX_S = 2.0
"""Pauses between attempts to come back, at first and at most; half of each is chance."""
FINAL_STATUSES = frozenset({401, 403, 404, 426})


class Host(Protocol):
    """Whose link it is."""

    def heard(self, raw: str | bytes) -> Awaitable[None] | None:
        """Take a message; nothing more is read until what it returns is done."""
        ...

    def cut_off(self, lost: ConnectionLostError) -> float:
        """Hear that the connection is gone; return for how many seconds coming back is of use."""
        ...

    def back(self) -> None:
        """Hear that there is a connection again."""
        ...

    def gone(self, lost: ConnectionLostError) -> None:
        """Hear that there will be none any more."""
        ...


class Link:
    """One client's way to its server.

    Args:
        host: Whose it is.
        connect: Opens a connection.

    Attributes:
        lost: Why there is no connection any more, once there will be none.
    """

    def __init__(self, host: Host, connect: Callable[[], Awaitable[Connection]]) -> None:
        self.lost: ConnectionLostError | None = None
        self._host = host
        self._connect = connect
        self._connection: Connection | None = None
        self._coming_back = False
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    @property
    def held(self) -> bool:
        """Whether nothing is read now, for somebody who is slow here."""
        return self._connection is not None and self._connection.held

    async def open(self) -> None:
        """Connect.

        Raises:
            ConnectError: Nothing answers there, or not with a WebSocket.
        """
        connection = await self._connect()
        self.lost = None
        self._take(connection)

    async def close(self) -> None:
        """End it, and all tasks. Idempotent."""
        connection, self._connection = self._connection, None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if connection is not None or self._coming_back:
            self._coming_back = False
            self._give_up(ConnectionLostError("this client was closed before the run ended"))
        if connection is not None:
            await connection.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def ready(self) -> None:
        """Wait until there is a connection.

        Raises:
            ConnectionLostError: There will be none any more.
            RuntimeError: It has never been opened.
        """
        while self._connection is None:
            if self.lost is not None:
                raise self.lost
            if not self._coming_back:
                raise RuntimeError("the client is not open: use `async with Client(…) as client`")
            self._changed.clear()
            await self._changed.wait()

    async def send(self, text: str) -> None:
        """Send a message, once there is a connection.

        Raises:
            ConnectionLostError: The connection is gone; whether it got through is not known.
        """
        await self.ready()
        if self._connection is None:
            raise self.lost or ConnectionLostError("the connection to the server broke off")
        await self._connection.send(text)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a task that ends with the link, at the latest."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self, connection: Connection) -> None:
        self._connection = connection
        self._coming_back = False
        self._changed.set()
        self.spawn(self._read(connection))
        self.spawn(self._keep_alive(connection))

    async def _read(self, connection: Connection) -> None:
        """Hand every message on until the connection ends."""
        try:
            while True:
                full = self._host.heard(await connection.receive())
                if full is not None:
                    # The socket is not read meanwhile, so the server and then the program wait.
                    await connection.hold(full)
        except ConnectionLostError as exc:
            self._cut_off(connection, exc)
        except BadMessageError as exc:
            self._fail(connection, f"the server does not speak {protocol.SUBPROTOCOL}: {exc}", exc)
        except Exception as exc:  # noqa: BLE001 - a listener's: without this its runs would hang
            self._fail(connection, f"a listener of this client failed: {exc!r}", exc)

    async def _keep_alive(self, connection: Connection) -> None:
        try:
            await connection.keep_alive()
        except ConnectionLostError as exc:
            self._cut_off(connection, exc)
            connection.cut()

    def _fail(self, connection: Connection, why: str, cause: Exception) -> None:
        lost = ConnectionLostError(why)
        lost.__cause__ = cause
        self._connection = None
        self._give_up(lost)
        connection.cut()

    def _cut_off(self, connection: Connection, lost: ConnectionLostError) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        patience_s = self._host.cut_off(lost)
        if patience_s <= 0 or lost.close_code in {CLOSE_NOT_ALLOWED, CLOSE_TOO_BIG}:
            self._give_up(lost)
            return
        self._coming_back = True
        self.spawn(self._come_back(lost, patience_s))

    async def _come_back(self, lost: ConnectionLostError, patience_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + patience_s
        pause_s = AGAIN_S
        while True:
            # Clients that lost one server come back one by one.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - only jitter
            pause_s = min(2 * pause_s, AGAIN_MAX_S)
            try:
                connection = await self._connect()
            except ConnectError as exc:
                if loop.time() > deadline_s or exc.status in FINAL_STATUSES:
                    lost.__cause__ = exc
                    self._coming_back = False
                    self._give_up(lost)
                    return
            else:
                self._take(connection)
                self._host.back()
                return

    def _give_up(self, lost: ConnectionLostError) -> None:
        self.lost = self.lost or lost
        self._changed.set()
        self._host.gone(self.lost)
