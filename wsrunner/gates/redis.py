"""The gate that replicas share through Redis.

Owns the connections and the tasks; `replica` keeps what this process has, the scripts beside this
file decide who runs.

    RedisGate
    ├── _stay_linked      connects, joins, connects again
    │   ├── commands.write, commands.read    requests out, replies in, in the same order
    │   └── letters.read                     grants to this replica's waiters, as published
    └── _beat             a heartbeat every beat_s; ends a silent connection and expired permits

`admit` only touches the replica's state and waits for a future; it never awaits a connection. So a
cancelled task can't cut a request in half, and leaving the context is not an await at all.

A request without a reply is not repeated but asked anew from the replica's state after the next
join, and `join.lua` shuts out what the old connection left on the way.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any, Self

from redis.exceptions import RedisError

from wsrunner.gates.base import Permit, PositionListener, Shares, Ticket
from wsrunner.gates.operator import OPEN_S, Desk
from wsrunner.gates.replica import Replica, Reply, Stay, UnlinkedError, unavailable
from wsrunner.gates.scripts import SCRIPTS, script, sha
from wsrunner.gates.wire import Server, Wire

log = logging.getLogger("wsrunner.gate")

BEAT_S = 0.5
AGAIN_MAX_S = 0.25
"""Longest pause between attempts to connect: a new epoch waits 1 s for those who lost theirs."""


class RedisGate(Desk):
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
        self._commands: Wire | None = None
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
        return await self._commands.ask("EVALSHA", sha(name), 1, self._key, *args)

    def _send(
        self, name: str, args: Sequence[str | int], on_reply: Callable[[Reply], None]
    ) -> None:
        assert self._commands is not None
        self._commands.send(("EVALSHA", sha(name), 1, self._key, *args), on_reply)

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
        commands, letters = Wire(), Wire()
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

    async def _connect(self, commands: Wire, letters: Wire) -> str:
        await self._server.open(commands, self._key)
        info = await commands.exchange("INFO", "server")
        for name in SCRIPTS:
            await commands.exchange("SCRIPT", "LOAD", script(name))
        await self._server.open(letters, self._key)
        await letters.exchange("SUBSCRIBE", f"{self._key}:grants:{self._replica.id}")
        fields = dict(line.partition(":")[::2] for line in str(info).splitlines())
        return fields["run_id"]

    async def _join(self, commands: Wire, run_id: str) -> None:
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
