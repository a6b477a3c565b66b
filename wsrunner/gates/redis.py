"""The gate that replicas share through Redis.

Owns the connections and the tasks; `replica` keeps what this process has, the scripts beside this
file decide who runs. With `live.store` the only module that imports redis.

    RedisGate
    ├── _stay_linked      connects, joins, connects again
    │   ├── commands.write, commands.read    requests out, replies in, in the same order
    │   └── letters.read                     grants to this replica's waiters, as published
    └── _beat             a heartbeat every beat_s; ends a silent connection and expired permits

`admit` only touches the replica's state and waits for a future; it never awaits a connection. So a
cancelled task can't cut a request in half, and leaving the context is not an await at all.

redis-py brings connections, TLS, credentials, and parsing; its retries are off. A request without a
reply is not repeated but asked anew from the replica's state after the next join, and `join.lua`
shuts out what the old connection left on the way.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from hashlib import sha1
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, RedisError

from wsrunner.errors import SetupError
from wsrunner.gates.base import EngineState, GateState, Permit, PositionListener, Shares, Ticket
from wsrunner.gates.replica import Replica, Reply, Stay, UnlinkedError, unavailable

log = logging.getLogger("wsrunner.gate")

_INCLUDE = "-- include common.lua\n"
SCRIPTS = ("join", "enter", "leave", "beat", "part", "tune")
BEAT_S = 0.5
OPEN_S = 5.0
"""Seconds that opening waits for Redis, and closing for the last reply."""
AGAIN_MAX_S = 0.25
"""Longest pause between attempts to connect: a new epoch waits 1 s for those who lost theirs."""


@cache
def script(name: str) -> str:
    """Return a script's text, with what all share where it asks for it."""
    text, common = (
        (Path(__file__).parent / f"{part}.lua").read_text("utf-8") for part in (name, "common")
    )
    assert text.count(_INCLUDE) == 1
    return text.replace(_INCLUDE, common)


class _Desk(ABC):
    """What an operator sees and sets; how commands travel is the subclass's business."""

    def __init__(self, prefix: str) -> None:
        self._key = f"{{{prefix}}}:gate"

    @abstractmethod
    async def _ask(self, *command: str | int) -> Any: ...

    async def state(self) -> GateState:
        """Return a snapshot. Cancelling is safe.

        Raises:
            GateUnavailableError: Redis can't be reached.
        """
        flat = await self._ask("HGETALL", self._key)
        replicas = await self._ask("ZRANGE", f"{self._key}:replicas", 0, -1)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        seats = [fields.get(f"name:{replica}", "").partition(" ") for replica in replicas]
        engines = {engine for engine, _, _ in seats if engine}
        engines |= {name[2:] for name in fields if name.startswith("e:")}
        engines |= {name[4:] for name in fields if name.startswith("cap:")}
        return GateState(
            slots=int(fields.get("slots", 0)),
            held=int(fields.get("held", 0)),
            waiting=int(fields.get("waiting", 0)),
            queue_max=int(fields.get("queue_max", 0)),
            engines={
                name: EngineState(
                    int(fields.get(f"e:{name}", 0)),
                    int(fields[f"cap:{name}"]) if f"cap:{name}" in fields else None,
                )
                for name in sorted(engines)
            },
            replicas=len(replicas),
            replica_names=sorted(name for _, _, name in seats if name),
        )

    async def resize(self, slots: int) -> None:
        """Set N; see `gates.base.Gate.resize`. Cancelling is safe."""
        if slots < 1:
            raise ValueError(f"a gate has at least 1 slot, not {slots}")
        await self._tune("slots", str(slots))

    async def share(self, tenant: str, shares: Shares) -> None:
        """Set what one tenant may use; see `gates.base.Gate.share`. Cancelling is safe."""
        pairs = f"slots:{tenant}", str(shares.slots), f"queue:{tenant}", str(shares.queue)
        await self._ask("EVAL", script("tune"), 1, self._key, *pairs)

    async def resize_engine(self, engine: str, slots: int | None) -> None:
        """Set an engine's own capacity; see `gates.base.Gate.resize_engine`. Cancelling is safe."""
        if slots is not None and slots < 0:
            raise ValueError(f"an engine has 0 slots or more, not {slots}")
        await self._tune(f"cap:{engine}", "" if slots is None else str(slots))

    async def _tune(self, name: str, value: str) -> None:
        await self._ask("EVAL", script("tune"), 1, self._key, name, value)


class Operator(_Desk):
    """Shows and changes a gate without being a replica: it declares nothing and holds nothing up.

    Args:
        url: As for `RedisGate`.
        prefix: The gate's.

    Raises:
        SetupError: The URL can't be understood.
    """

    def __init__(self, url: str, prefix: str = "wsrunner") -> None:
        super().__init__(prefix)
        self._server = Server(url, OPEN_S)
        self._wire = _Wire()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(OPEN_S):
                await self._server.open(self._wire, self._key)
        except (RedisError, OSError) as exc:
            await self.__aexit__()
            raise unavailable(f"{self._server} can't be reached: {exc}") from exc
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._wire.close()
        await self._server.close()

    async def _ask(self, *command: str | int) -> Any:
        try:
            async with asyncio.timeout(OPEN_S):
                return await self._wire.exchange(*command)
        except (RedisError, OSError) as exc:
            raise unavailable(str(exc)) from exc


class RedisGate(_Desk):
    """A gate that all processes with the same Redis and prefix share.

    The configuration given here is what this replica declares: it counts if the gate has none yet,
    or if it differs from what was declared last; `resize` and ``wsrunner slots set`` change it
    at run time.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://`` as redis-py reads them, or
            ``redis+sentinel://[user:password@]host:26379[,host:26379…]/master[/db]``
            (``rediss+sentinel://`` for TLS to the master).
        slots: N, the permits that may be out at once across all replicas; at least 1. None leaves
            whatever the gate has.
        queue_max: Tickets the queue takes; 0 refuses whatever can't run at once.
        engine_slots: Engines' own capacities by name; an engine not named has none but N.
        shares: What one tenant may use.
        name: This process's name, shown to operators.
        engine: The engine that its tickets name, shown too; without a space.
        lease_s: Seconds after which a silent replica's slots and places come back.
        prefix: Begins every key, as ``{prefix}:``; the braces keep a Cluster's keys together.

    Raises:
        SetupError: The URL can't be understood.
    """

    def __init__(
        self,
        url: str,
        slots: int | None,
        queue_max: int = 1000,
        engine_slots: Mapping[str, int] = MappingProxyType({}),
        *,
        shares: Shares = Shares(),  # noqa: B008  frozen, so sharing it is harmless
        name: str = "",
        engine: str = "",
        lease_s: float = 15.0,
        prefix: str = "wsrunner",
    ) -> None:
        super().__init__(prefix)
        # A short lease needs quick beats: one may be missed, or late, without consequence.
        self.beat_s = min(BEAT_S, lease_s / 8)
        self.reply_s = min(2.0, max(lease_s / 4, 0.5))
        declared = {
            "queue_max": queue_max,
            "tenant_slots": shares.slots,
            "tenant_queue": shares.queue,
            **{f"cap:{engine}": capacity for engine, capacity in engine_slots.items()},
        }
        if slots is not None:
            declared["slots"] = slots
        seat = f"{engine} {name}".rstrip()
        self._replica = Replica(seat, declared, lease_s=lease_s, beat_s=self.beat_s)
        self._server = Server(url, self.reply_s)
        self._commands: _Wire | None = None
        self._linked = asyncio.Event()
        self._cut_s = 0.0
        self._why = "not connected yet"
        self._beat_sent_s: float | None = None
        self._beat_due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    def __repr__(self) -> str:
        return f"<RedisGate {self._server} {'linked' if self._linked.is_set() else self._why}>"

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._stay_linked()), asyncio.create_task(self._beat())]
        try:
            async with asyncio.timeout(OPEN_S):
                await self._linked.wait()
        except TimeoutError:
            why = self._why
            await self._stop()
            raise unavailable(f"{self._server} can't be reached: {why}") from None
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closing = True
        self._replica.close()
        try:
            async with asyncio.timeout(self.reply_s):
                # Everything goes back at once, a hundred thousand waiters in many small steps.
                while self._linked.is_set() and await self._call("part", *self._replica.identity):
                    pass
        except (TimeoutError, RedisError, OSError):
            log.warning("could not part from %s; the lease will end", self._server)
        finally:
            await self._stop()

    @asynccontextmanager
    async def admit(
        self, ticket: Ticket, *, on_position: PositionListener
    ) -> AsyncIterator[Permit]:
        """Wait for a slot and hold it; see `gates.base.Gate.admit`.

        Cancelling is safe at every await: `Replica.end` gives back whatever the ticket has got,
        and keeps trying over broken connections until Redis confirms.
        """
        loop = asyncio.get_running_loop()
        down_s = 0.0 if self._linked.is_set() else loop.time() - self._cut_s
        if not self._tasks or self._closing or down_s > self._replica.patience_s:
            raise unavailable(self._why)
        stay = Stay(ticket, on_position, loop.time(), loop.create_future())
        self._replica.ask(stay)
        try:
            yield await stay.outcome
        finally:
            self._replica.end(stay)

    async def _ask(self, *command: str | int) -> Any:
        """Send one idempotent command that is not the replica's.

        Raises:
            GateUnavailableError: No reply came, over however many connections.
        """
        try:
            async with asyncio.timeout(2 * self.reply_s):
                while True:
                    await self._linked.wait()
                    assert self._commands is not None
                    try:
                        return await self._commands.ask(*command)
                    except (RedisError, OSError) as exc:
                        self._why = str(exc)
                        await asyncio.sleep(self.beat_s / 10)
        except TimeoutError as exc:
            raise unavailable(self._why or "no reply") from exc

    async def _call(self, name: str, *args: str | int) -> Any:
        assert self._commands is not None
        return await self._commands.ask("EVALSHA", _sha(name), 1, self._key, *args)

    def _send(
        self, name: str, args: Sequence[str | int], on_reply: Callable[[Reply], None]
    ) -> None:
        assert self._commands is not None
        self._commands.send(("EVALSHA", _sha(name), 1, self._key, *args), on_reply)

    # The connections.

    async def _stay_linked(self) -> None:
        loop = asyncio.get_running_loop()
        self._cut_s = loop.time()
        again_s = 0.01
        while not self._closing:
            try:
                await self._link()
            except (UnlinkedError, RedisError, OSError, TimeoutError) as exc:
                self._why = str(exc) or type(exc).__name__
            except Exception:
                # Ours: but a fault in one reply must not end the gate for all that follow.
                log.exception("unexpected fault; joining again")
            if self._linked.is_set():
                log.warning("lost the connection to %s: %s", self._server, self._why)
                self._linked.clear()
                self._cut_s = loop.time()
                again_s = 0.01
            self._replica.cut()
            self._commands = None
            self._beat_sent_s = None
            await asyncio.sleep(again_s * random.uniform(0.5, 1.0))  # noqa: S311  only jitter
            again_s = min(2 * again_s, AGAIN_MAX_S)

    async def _link(self) -> None:
        """Connect, join, and serve the connections until one of them ends."""
        commands, letters = _Wire(), _Wire()
        tasks: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self.reply_s):
                run_id = await self._connect(commands, letters)
            parts = (
                commands.write(),
                commands.read(),
                letters.read(self._heard),
                self._join(commands, run_id),
            )
            tasks = [asyncio.create_task(part) for part in parts]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await commands.close()
            await letters.close()

    async def _connect(self, commands: _Wire, letters: _Wire) -> str:
        await self._server.open(commands, self._key)
        info = await commands.exchange("INFO", "server")
        for name in SCRIPTS:
            await commands.exchange("SCRIPT", "LOAD", script(name))
        await self._server.open(letters, self._key)
        await letters.exchange("SUBSCRIBE", f"{self._key}:grants:{self._replica.id}")
        fields = dict(line.partition(":")[::2] for line in str(info).splitlines())
        return fields["run_id"]

    async def _join(self, commands: _Wire, run_id: str) -> None:
        loop = asyncio.get_running_loop()
        link = secrets.token_hex(4)
        sent_s = loop.time()
        self._beat_sent_s = sent_s
        self._commands = commands
        reply = await self._call("join", *self._replica.join_request(link, run_id))
        self._beat_sent_s = None
        self._replica.joined(reply, link, self._send, sent_s, loop.time())
        self._linked.set()
        self._beat_due.set()

    def _heard(self, message: Any) -> None:
        if message[0] == "message":
            self._replica.heard(message[2])

    # Time.

    async def _beat(self) -> None:
        """Send heartbeats, and enforce the deadlines whether or not there is a connection."""
        loop = asyncio.get_running_loop()
        while True:
            now_s = loop.time()
            self._replica.watch(now_s)
            if self._beat_sent_s is not None:
                if now_s - self._beat_sent_s > self.reply_s and self._commands is not None:
                    self._commands.abort(f"no reply for {self.reply_s:g} s")
            elif self._linked.is_set():
                self._send_beat(now_s)
            self._beat_due.clear()
            # Not late for the end of the lease, which is not a multiple of the beat.
            left_s = self._replica.lease_until_s - now_s
            pause_s = min(self.beat_s, left_s) if left_s > 0 else self.beat_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._beat_due.wait()

    def _send_beat(self, sent_s: float) -> None:
        self._beat_sent_s = sent_s

        def beaten(reply: Reply) -> None:
            self._beat_sent_s = None
            if self._replica.beaten(reply, sent_s):
                self._beat_due.set()

        self._send("beat", self._replica.beat_request(), beaten)

    async def _stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        self._why = "this server's gate is closed"
        self._linked.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._replica.close()
        await self._server.close()


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

    async def open(self, wire: _Wire, key: str) -> None:
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


class _Wire:
    """One connection, used in both directions at once."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._requests: list[tuple[str | int, ...]] = []
        self._filled = asyncio.Event()
        self._takers: deque[Callable[[Any], None]] = deque()
        self._asked: set[asyncio.Future[Any]] = set()
        self._ended: str | None = None

    async def open(self, connection: Connection) -> None:
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
        self._ended = self._ended or "the connection is closed"
        for reply in self._asked:
            if not reply.done():
                reply.set_exception(OSError(self._ended))
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)


@cache
def _sha(name: str) -> str:
    return sha1(script(name).encode()).hexdigest()  # noqa: S324  Redis names scripts so
