"""Where Redis is, and a connection to it that is used in both directions at once.

redis-py brings connections, TLS, credentials, and parsing; its retries are off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import MovedError

from wsrunner.errors import SetupError


class Server:
    """Where Redis is: an address, or whom to ask for it."""

    def __init__(self, url: str, reply_s: float) -> None:
        self.url = url
        self._sentinel: Sentinel | None = None
        self._master = ""
        parts = urlsplit(url)
        try:
            if parts.scheme in {"redis+sentinel", "rediss+sentinel"}:
                url = self._ask_sentinel(parts.netloc, parts.path, parts.scheme.split("+")[0])
            self._pool = ConnectionPool.from_url(
                url,
                decode_responses=True,
                protocol=2,
                # A reply may be long in coming; `RedisGate._beat` decides when it's too long.
                socket_timeout=None,
                socket_connect_timeout=reply_s,
                # A connection is all it gives us; whatever is repeated is asked anew.
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
                health_check_interval=0,
            )
        except ValueError as exc:
            raise SetupError(f"{self}: {exc}") from exc

    def __str__(self) -> str:
        """Return the URL without its password."""
        parts = urlsplit(self.url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=place, query="", fragment=""))

    def _ask_sentinel(self, netloc: str, path: str, scheme: str) -> str:
        """Note the sentinels; return the master's URL, its address still open."""
        login, at, places = netloc.rpartition("@")
        self._master, _, db = path.strip("/").partition("/")
        if not self._master:
            raise ValueError("the path names the master: redis+sentinel://host:26379/mymaster/0")
        sentinels = []
        for place in places.split(","):
            host, _, port = place.partition(":")
            sentinels.append((host, int(port or 26379)))
        # One that is down must not keep us from asking the next.
        patience = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            sentinels, sentinel_kwargs={**patience, "retry": Retry(NoBackoff(), 0)}
        )
        return f"{scheme}://{login}{at}master:6379/{db or 0}"

    async def open(self, wire: Wire, key: str) -> None:
        """Connect the wire to the server that has this key: in a Cluster it may be another."""
        address = None
        if self._sentinel is not None:
            address = await self._sentinel.discover_master(self._master)
        await wire.open(self._connection(address))
        try:
            await wire.exchange("EXISTS", key)
        except MovedError as exc:
            await wire.close()
            await wire.open(self._connection((exc.host, exc.port)))

    def _connection(self, address: tuple[str, int] | None) -> Connection:
        connection: Connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        if address is not None:
            connection.host, connection.port = address
        return connection

    def client(self, address: tuple[str, int] | None = None) -> Redis:
        """Return a client for commands of any kind, whose replies are bytes.

        Args:
            address: (host, port) of the server, if it is another than the URL says.
        """
        kwargs = {**self._pool.connection_kwargs, "decode_responses": False}
        kind = self._pool.connection_class
        if self._sentinel is not None:
            for name in ("host", "port"):
                kwargs.pop(name, None)
            kwargs["ssl"] = issubclass(kind, SSLConnection)
            pool: ConnectionPool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
                self._master, self._sentinel, **kwargs
            )
        else:
            if address is not None:
                kwargs["host"], kwargs["port"] = address
            pool = ConnectionPool(connection_class=kind, **kwargs)
        return Redis.from_pool(pool)

    async def close(self) -> None:
        """Give up what it has open itself."""
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()


class Wire:
    """One connection, used in both directions at once."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._requests: list[tuple[str | int, ...]] = []
        self._filled = asyncio.Event()
        self._takers: deque[Callable[[Any], None]] = deque()
        self._asked: set[asyncio.Future[Any]] = set()
        self._ended: str | None = None

    async def open(self, connection: Connection) -> None:
        """Connect; raises what redis-py does."""
        self._connection, self._ended = connection, None
        await connection.connect()  # type: ignore[no-untyped-call]

    async def exchange(self, *command: str | int) -> Any:
        """Send one command and return its reply; only before `write` and `read` run."""
        assert self._connection is not None
        await self._connection.send_packed_command(
            self._connection.pack_command(*command), check_health=False
        )
        return await self._connection.read_response()

    def send(self, command: tuple[str | int, ...], on_reply: Callable[[Any], None]) -> None:
        """Put a command on its way, behind all sent before. Never blocks."""
        self._requests.append(command)
        self._takers.append(on_reply)
        self._filled.set()

    async def ask(self, *command: str | int) -> Any:
        """Send a command and return its reply. Cancelling is safe: the reply is then dropped."""
        if self._ended is not None:
            raise OSError(self._ended)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.add(reply)
        try:
            self.send(command, lambda value: None if reply.done() else reply.set_result(value))
            return await reply
        finally:
            self._asked.discard(reply)

    def abort(self, reason: str) -> None:
        """Let `write` end with an error."""
        self._ended = reason
        self._filled.set()

    async def write(self) -> None:
        """Send what is put on its way, together what has gathered, until cancelled or `abort`."""
        assert self._connection is not None
        while True:
            await self._filled.wait()
            if self._ended is not None:
                raise TimeoutError(self._ended)
            self._filled.clear()
            requests, self._requests = self._requests, []
            packed = self._connection.pack_commands(requests)
            await self._connection.send_packed_command(packed, check_health=False)

    async def read(self, on_push: Callable[[Any], None] | None = None) -> None:
        """Hand each reply to its taker, or all to `on_push`.

        An error reply ends the connection like any other fault: a flushed script, a master that
        became a replica or a server that is still loading all ask for a new join.
        """
        assert self._connection is not None
        while True:
            reply = await self._connection.read_response()
            if on_push is not None:
                on_push(reply)
            else:
                self._takers.popleft()(reply)

    async def close(self) -> None:
        """Disconnect; who waits for a reply gets an error."""
        self._ended = self._ended or "the connection is closed"
        for reply in self._asked:
            if not reply.done():
                reply.set_exception(OSError(self._ended))
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)
