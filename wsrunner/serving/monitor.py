"""The live feed for operators, ``WS /v1/monitor``: what runs, what waits, what has been.

Owns the record of this process's last hour; the messages are in `monitor_words`. Never holds code
or output.

The server sends a ``state`` at once and each second, and a ``run`` for every run that ends; the
operator may send commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec import UNSET
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from wsrunner import protocol
from wsrunner.errors import BadMessageError, NoSuchRunError, NotAllowedError, WsrunnerError
from wsrunner.live.house import House
from wsrunner.rooms.hall import Hall
from wsrunner.runs.delivery import ReaderGoneError
from wsrunner.runs.events import Exit
from wsrunner.runs.job import Principal
from wsrunner.runs.observers import Facts, Observer
from wsrunner.runs.registry import Registry
from wsrunner.runs.run import Run
from wsrunner.serving.monitor_words import (
    CancelRun,
    CloseRoom,
    Command,
    DiscardRun,
    EndedRun,
    EngineUse,
    ForgetWorkspace,
    KeptRun,
    LiveRun,
    Minute,
    RoomUse,
    SetSlots,
    State,
    TenantUse,
    Warm,
    Workspace,
)
from wsrunner.serving.outlet import Outlet
from wsrunner.serving.wire import milliseconds
from wsrunner.webhooks.dispatch import Dispatch

EVERY_S = 1.0
RUNS_KEPT = 200
SHOWN = 200
"""Live runs, kept runs, workspaces and rooms that each state shows, of each so many."""
MINUTES_KEPT = 60
MINUTE_S = 60
WEBHOOKS_SHOWN = 20
"""Attempts to send a callback that each state shows, the last ones."""


_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_encoder = msgspec.json.Encoder()


class Monitor(Observer):
    """The record of this process, and the sockets that follow it.

    Args:
        registry: Whose runs are shown; it observes their ends.

    Attributes:
        webhooks: Whose attempts are shown; set it once there is one.
        house, hall: Have the kept runs and the rooms; likewise.
    """

    def __init__(self, registry: Registry) -> None:
        self.webhooks: Dispatch | None = None
        self.house: House | None = None
        self.hall: Hall | None = None
        self._registry = registry
        self._host = registry.host
        self._recent: deque[_Owned] = deque(maxlen=RUNS_KEPT)
        # Minutes that are over, and the one that is not: its beginning, its runs.
        self._past: deque[Minute] = deque(maxlen=MINUTES_KEPT)
        self._minute = 0
        self._runs: list[EndedRun] = []
        self._followers: set[asyncio.Queue[_Owned]] = set()
        registry.host.observers.append(self)

    def ended(self, run: Facts, event: Exit) -> None:
        """See `Observer`: keep the run's figures, and tell those who follow."""
        first_s = run.first_output_s
        ended = EndedRun(
            run=run.run_id,
            language=run.language,
            at=time.time(),
            stage=event.stage,
            reason=event.reason,
            code=event.code,
            signal=event.signal,
            queued_ms=milliseconds(event.queued_s),
            wall_ms=milliseconds(event.wall_s),
            first_output_ms=None if first_s is None else milliseconds(first_s),
        )
        owned = _Owned(run.principal, ended)
        self._recent.append(owned)
        self._turn_minute(ended.at)
        self._runs.append(ended)
        for queue in self._followers:
            # A follower that is behind sees the run in the next state.
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(owned)

    async def state(self, principal: Principal, *, recent: bool) -> State:
        """Return everything at this moment, with the last runs if asked for.

        Args:
            principal: Who watches: of runs only the own ones are shown, but to operators.
            recent: Whether to add the last runs that ended.
        """
        host, pool, error, gate = self._host, self._host.pool, None, None
        try:
            await host.engine.ping()
            gate = await host.gate.state()
        except WsrunnerError as exc:
            error = exc.message
        now = time.time()
        return State(
            at=now,
            slots=gate.slots if gate else None,
            held=gate.held if gate else None,
            waiting=gate.waiting if gate else None,
            queue_max=gate.queue_max if gate else None,
            replicas=gate.replicas if gate else None,
            engines=[
                EngineUse(name=name, held=engine.held, slots=engine.slots)
                for name, engine in (gate.engines.items() if gate else ())
            ],
            warm=[
                Warm(image=image, tty=tty, count=count)
                for (image, tty), count in pool.sizes().items()
            ],
            pool_hits=pool.hits,
            pool_misses=pool.misses,
            draining=host.draining,
            live=[
                LiveRun(run=run.run_id, language=run.language, stage=run.stage, age_s=run.age_s())
                for run in self._own_runs(principal)
            ],
            tenants=self._tenants(principal),
            workspaces=self._workspaces(principal),
            kept=self._kept(principal),
            rooms=self._rooms(principal),
            minutes=self._minutes(now),
            error=error,
            webhooks_pending=self.webhooks.pending if self.webhooks else 0,
            webhooks=list(self.webhooks.attempts)[-WEBHOOKS_SHOWN:] if self.webhooks else [],
            recent=_owned_by(principal, self._recent) if recent else UNSET,
        )

    def _own_runs(self, principal: Principal) -> list[Run]:
        live = self._registry.live.values()
        return [run for run in live if principal.owns(run.principal)][:SHOWN]

    def _workspaces(self, principal: Principal) -> list[Workspace]:
        return [
            Workspace(
                workspace=each.id,
                tenant=each.tenant,
                image=each.image,
                busy=each.busy,
                idle_s=round(each.idle_s, 1),
            )
            for each in self._host.workspaces.seen_by(principal)[:SHOWN]
        ]

    def _kept(self, principal: Principal) -> list[KeptRun]:
        if self.house is None:
            return []
        return [
            KeptRun(
                run=each.record.run_id,
                tenant=each.run.principal.tenant,
                language=each.run.language,
                clients=len(each.seats),
                bytes=each.journal.held_bytes,
                left_s=each.left_s(),
            )
            for each in self.house.seen_by(principal)[:SHOWN]
        ]

    def _rooms(self, principal: Principal) -> list[RoomUse]:
        if self.hall is None:
            return []
        return [
            RoomUse(
                room=room.id,
                tenant=room.deed.opener.tenant,
                people=len(room.state.people),
                runs=len(room.runs.now),
                bytes=room.held_bytes,
            )
            for room in self.hall.seen_by(principal)[:SHOWN]
        ]

    def _tenants(self, principal: Principal) -> list[TenantUse]:
        live: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for run in self._registry.live.values():
            tenant = run.principal.tenant
            if tenant and principal.owns(run.principal):
                live[tenant] += run.admitted
                waiting[tenant] += not run.admitted
        return [
            TenantUse(name=name, live=live[name], waiting=waiting[name]) for name in sorted(live)
        ]

    def _turn_minute(self, now: float) -> None:
        """Sum up the minute that is over, if it is: its runs need not be kept."""
        minute = int(now) // MINUTE_S * MINUTE_S
        if minute != self._minute:
            if self._runs:
                self._past.append(_summary(self._minute, self._runs))
            self._minute, self._runs = minute, []

    def _minutes(self, now: float) -> list[Minute]:
        """Return the last hour, oldest first."""
        self._turn_minute(now)
        known = {minute.at: minute for minute in self._past}
        known[self._minute] = _summary(self._minute, self._runs)
        first = self._minute - (MINUTES_KEPT - 1) * MINUTE_S
        return [
            known.get(at) or _summary(at, []) for at in range(first, self._minute + 1, MINUTE_S)
        ]

    async def converse(self, connection: ServerConnection, principal: Principal) -> None:
        """Serve one socket until it closes; who is no operator may only end runs of their own."""
        outlet = Outlet(connection, self._host.settings.slow_client_s)
        queue: asyncio.Queue[_Owned] = asyncio.Queue(RUNS_KEPT)
        self._followers.add(queue)
        feed = asyncio.create_task(self._feed(outlet, queue, principal))
        try:
            async for message in connection:
                try:
                    await self._obey(message, principal)
                except WsrunnerError as exc:
                    await outlet.send(protocol.encode(protocol.error_event(exc)), text=True)
        except (ConnectionClosed, ReaderGoneError):
            pass
        finally:
            self._followers.discard(queue)
            feed.cancel()
            with contextlib.suppress(asyncio.CancelledError, ReaderGoneError):
                await feed

    async def _feed(
        self, outlet: Outlet, queue: asyncio.Queue[_Owned], principal: Principal
    ) -> None:
        first = True
        while True:
            state = await self.state(principal, recent=first)
            await outlet.send(_encoder.encode(state), text=True)
            first = False
            deadline = time.monotonic() + EVERY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    while time.monotonic() < deadline:
                        for run in _owned_by(principal, [await queue.get()]):
                            await outlet.send(_encoder.encode(run), text=True)

    async def _obey(self, message: str | bytes, principal: Principal) -> None:
        """Carry out an operator's command.

        Raises:
            WsrunnerError: It is not one, or can't be carried out.
        """
        try:
            command = _decoder.decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            reason = str(exc)[: protocol.QUOTED_MAX]
            raise BadMessageError(f"not a command of the monitor: {reason}", path="$") from exc
        match command:
            case CancelRun(run=run_id):
                run = self._registry.live.get(run_id)
                # What is another's is as if it were not there: ids are nobody else's business.
                if run is None or not principal.owns(run.principal):
                    raise NoSuchRunError(
                        f"no run {run_id!r} that is yours is live on this replica", path="$.run"
                    )
                run.end("cancelled")
            case ForgetWorkspace(workspace=name):
                self._host.workspaces.end(principal, name[: protocol.QUOTED_MAX])
            case DiscardRun(run=run_id) if self.house is not None:
                self.house.end(principal, run_id[: protocol.QUOTED_MAX])
            case CloseRoom(room=room_id) if self.hall is not None:
                self.hall.end(principal, room_id[: protocol.QUOTED_MAX])
            case SetSlots(slots=slots):
                if not principal.operator:
                    raise NotAllowedError(
                        "only an operator sets the slots: who has the token of --operator-token"
                    )
                await self._host.gate.resize(slots)


class _Owned(NamedTuple):
    """A run that has ended, and whose it was."""

    principal: Principal
    run: EndedRun


def _owned_by(principal: Principal, runs: Iterable[_Owned]) -> list[EndedRun]:
    return [owned.run for owned in runs if principal.owns(owned.principal)]


def _summary(at: int, runs: list[EndedRun]) -> Minute:
    """Sum up the runs that ended in the minute that begins at `at`."""
    first = [run.first_output_ms for run in runs if run.first_output_ms is not None]
    return Minute(
        at=at,
        runs=len(runs),
        queued_ms_p95=_percentile([run.queued_ms for run in runs], 0.95),
        first_output_ms_p50=_percentile(first, 0.5),
        first_output_ms_p95=_percentile(first, 0.95),
    )


def _percentile(values: list[float], share: float) -> float | None:
    """Return the value below which `share` of the values lie (nearest rank), None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
