"""One run, from the checked request to its exit.

Owns the course of a run: admission, container, stages, limits, outcome. Knows a sink for its events
and no socket, so that a run may come to outlive one. Must not import websockets.

The tasks of a run:

    execute                 admit → lease → write the request → read, split, send → exit
    ├─ announce             sends the newest queue position while one is due, else absent
    ├─ lease watch          ends the run if the gate loses its permit
    ├─ stdin drain          tells the client that much stdin was taken, else absent
    └─ end                  kills the program, then after a grace the container, else absent

Whoever calls `stdin`, `eof`, `signal`, `resize` or `end` never waits for output.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal as signals
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from msgspec import UNSET

from wsrunner import protocol
from wsrunner.engines.base import STDERR, Container, Engine, Frame
from wsrunner.engines.dialogue import bootstrap
from wsrunner.errors import (
    DrainingError,
    EngineUnavailableError,
    GateUnavailableError,
    NoSuchRunError,
    QueueFullError,
    TooLargeError,
    WsrunnerError,
)
from wsrunner.gates.base import Gate, Permit, Ticket
from wsrunner.languages import Catalogue
from wsrunner.runs.lines import Batcher, Chunk
from wsrunner.runs.metrics import Metrics
from wsrunner.runs.order import KIB, Order, make_order
from wsrunner.runs.pool import Pool
from wsrunner.settings import Settings

log = logging.getLogger(__name__)

STDIN_MAX_BYTES = 2**20
"""Unread stdin a run may have; more is refused with too_large."""
STDIN_WINDOW_BYTES = 64 * 1024
DRAINED_EVERY_BYTES = 128 * 1024
QUEUE_MAX_BYTES = 256 * 2**20
"""Code and input that all waiting runs together may keep in memory."""
VAIN_READS_MAX = 8
"""Reads between two messages after which a program counts as one that prints line by line, fast."""
BREATH_S = 0.002
"""Such a program is read at this pace: waking for each of its writes took 3 times the CPU."""
KILL_GRACE_S = 1.0
"""How long a killed program's report is waited for before its container is destroyed."""
CPU_SKEW = 0.5
"""The kernel's limit counts ticks, the report nanoseconds: 0.81 s of 1 s was seen when busy."""

Stage = protocol.Stage
Reason = protocol.Reason


class SinkClosedError(Exception):
    """Nobody listens to this run any more."""


class Sink(Protocol):
    """Where a run's events go."""

    async def send(self, event: protocol.ServerMessage) -> None:
        """Deliver one event, waiting while the receiver is slow.

        Raises:
            SinkClosedError: The receiver is gone.
        """
        ...


class Runner:
    """What all runs share: the settings, the catalogue, the gate, the engine and its pool."""

    def __init__(
        self,
        *,
        settings: Settings,
        catalogue: Catalogue,
        gate: Gate,
        engine: Engine,
        engine_name: str,
        pool: Pool,
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.gate = gate
        self.engine = engine
        self.engine_name = engine_name
        self.pool = pool
        self.draining = False
        self.live: dict[str, Run] = {}
        self.metrics = Metrics()
        self._queue_bytes = 0
        self.on_ended: Callable[[Run, protocol.Exit], None] = lambda _run, _exit: None

    def take_queue_bytes(self, count: int) -> None:
        """Count what a waiting run keeps in memory.

        Raises:
            QueueFullError: All that wait would keep more than `QUEUE_MAX_BYTES`.
        """
        if self._queue_bytes + count > QUEUE_MAX_BYTES:
            raise QueueFullError(
                f"waiting runs hold {self._queue_bytes} bytes of code and input; the limit is "
                f"{QUEUE_MAX_BYTES} bytes",
                retry_after_s=5.0,
            )
        self._queue_bytes += count

    def give_queue_bytes(self, count: int) -> None:
        """Take back what `take_queue_bytes` counted."""
        self._queue_bytes -= count

    async def order(self, request: protocol.RunRequest) -> Order:
        """Check a request against the catalogue, the limits and the images that are there.

        Raises:
            DrainingError, UnknownLanguageError, LimitOutOfRangeError, ImageMissingError,
            EngineUnavailableError, BadMessageError: The run can't be accepted.
        """
        if self.draining:
            raise DrainingError("the server is stopping and takes no new runs", retry_after_s=5.0)
        return make_order(
            request,
            catalogue=self.catalogue,
            settings=self.settings,
            present=await self.engine.images(),
        )


class Run:
    """One run of a request.

    Args:
        request: What to run, as decoded.
        runner: What it runs with.
        sink: Where its events go.

    Attributes:
        id: The client's own name for it.
        run_id: The server's.
        language: The catalogue's id, once it has been looked up.
        stage: Where it is.
        first_output_ms: When its first output came, since its first stage began.
        admitted: Whether it has a slot, or had.
    """

    # Ten thousand may wait: a dictionary of so many names would take 1.3 KB each.
    __slots__ = (
        "_announced",
        "_announcer",
        "_batcher",
        "_born_s",
        "_container",
        "_deliver_by_s",
        "_drained_bytes",
        "_drainer",
        "_early_eof",
        "_early_stdin",
        "_ending",
        "_leased",
        "_leased_s",
        "_output_bytes",
        "_position",
        "_queued_bytes",
        "_queued_ms",
        "_request",
        "_runner",
        "_seq",
        "_signaller",
        "_signals",
        "_sink",
        "_stage_began_s",
        "_stdin_bytes",
        "_stdin_closed",
        "_tasks",
        "_truncated",
        "_tty",
        "_vain_reads",
        "_waiting",
        "_wall_timer",
        "_window",
        "admitted",
        "first_output_ms",
        "id",
        "language",
        "run_id",
        "stage",
    )

    def __init__(self, request: protocol.RunRequest, *, runner: Runner, sink: Sink) -> None:
        self.id = request.id
        self.run_id = secrets.token_hex(8)
        self.language = ""  # the catalogue's id, once it has been looked up
        self.first_output_ms: float | None = None  # since its first stage began
        self._born_s = time.monotonic()
        self.stage: Stage = "queue"
        self.admitted = False
        self._runner = runner
        self._sink = sink
        self._request: protocol.RunRequest | None = request
        self._tty = request.tty is not UNSET
        self._leased: Container | None = None
        self._container: Container | None = None  # once it takes input
        self._ending: Reason | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wall_timer: asyncio.TimerHandle
        self._deliver_by_s: float | None = None
        self._queued_bytes = 0
        self._position: tuple[int, int] | None = None
        self._announcer: asyncio.Task[None] | None = None
        self._announced = False
        # Input that came before there was a container to take it.
        self._early_stdin = bytearray()
        self._early_eof = False
        # What the engine has not been told yet: the same signal twice is one, as for any process.
        self._signals: dict[str, None] = {}
        self._window: tuple[int, int] | None = None
        self._signaller: asyncio.Task[None] | None = None
        self._stdin_closed = request.stdin is not UNSET
        self._stdin_bytes = 0
        self._drained_bytes = 0
        self._drainer: asyncio.Task[None] | None = None
        self._batcher = Batcher(interactive=self._tty)
        self._vain_reads = 0
        self._seq = 0
        self._output_bytes = 0
        self._truncated = False
        self._queued_ms = 0.0
        self._leased_s = 0.0
        self._stage_began_s = 0.0

    def __repr__(self) -> str:
        return f"<run {self.run_id} {self.language} {self.stage}>"

    def age_s(self) -> float:
        """Return the seconds since it came."""
        return time.monotonic() - self._born_s

    # What the client may do to it, at any time; none of these waits.

    def stdin(self, data: bytes) -> None:
        """Pass bytes to the program's stdin.

        Raises:
            NoSuchRunError: Its stdin was given with the run, or has been ended.
            TooLargeError: The program has not read what it got; nothing of `data` was taken.
            QueueFullError: It still waits, and all that wait keep too much in memory; likewise.
        """
        if self._stdin_closed:
            raise NoSuchRunError("the stdin of this run has been ended", path="$.id")
        waiting = len(self._early_stdin)
        if self._container is not None:
            waiting = self._unread_stdin_bytes(self._container)
        if waiting + len(data) > STDIN_MAX_BYTES:
            raise TooLargeError(
                f"{len(data)} bytes of stdin on top of {waiting} bytes that the program has not "
                f"read; the limit is {STDIN_MAX_BYTES} bytes",
                path="$.data",
            )
        if self._container is None:
            self._runner.take_queue_bytes(len(data))
            self._queued_bytes += len(data)
            self._early_stdin += data
        else:
            self._write_stdin(self._container, data)

    def eof(self) -> None:
        """End the program's stdin.

        Raises:
            NoSuchRunError: It has been ended already.
        """
        if self._stdin_closed:
            raise NoSuchRunError("the stdin of this run has been ended", path="$.id")
        # On a terminal ^D ends one read, not the stream.
        self._stdin_closed = not self._tty
        if self._container is None:
            self._early_eof = True
        else:
            self._container.write_eof()

    def signal(self, name: protocol.Signal) -> None:
        """Send a signal to the program, once it has started if it is still waiting."""
        self._signals[name] = None
        self._tell_engine()

    def resize(self, columns: int, rows: int) -> None:
        """Change the window size of its terminal, once it has started if it is still waiting.

        Raises:
            NoSuchRunError: It has no terminal.
        """
        if not self._tty:
            raise NoSuchRunError("this run has no terminal", path="$.id")
        self._window = (columns, rows)
        self._tell_engine()

    def end(self, reason: Reason) -> None:
        """End it wherever it is; its exit will carry `reason`, if it is the first to end it."""
        if self._ending is not None:
            return
        self._ending = reason
        self._stop_waiting_for_client()
        if self._leased is not None:
            self._spawn(self._kill(self._leased))
        elif self._waiting is not None:
            self._waiting.cancel()

    # Its course.

    async def execute(self) -> None:
        """Run it; sends exactly one exit, as the last event.

        Raises:
            WsrunnerError: It was not accepted (see `Runner.order`; or the queue is full, the gate
                or the engine is away), and no event was sent.
            SinkClosedError: Nobody listens any more; it has been ended.

        Cancelling is safe at every await: the container is destroyed and the slot is freed.
        """
        runner = self._runner
        ticket = Ticket(self.run_id, engine=runner.engine_name)
        self._waiting = asyncio.current_task()
        runner.live[self.run_id] = self
        try:
            if self._ending is not None:
                # Ended by a message that came in the same read as its request.
                await self._exit(self._ending)
                return
            assert self._request is not None
            order = await runner.order(self._request)
            self._request = None  # it may wait for long, and the order holds all of it
            self.language = order.language
            size = order.size_bytes()
            runner.take_queue_bytes(size)
            self._queued_bytes += size
            log.info("run %s: %s", self.run_id, order.language)
            async with runner.gate.admit(ticket, on_position=self._moved) as permit:
                self.admitted = True
                self._queued_ms = permit.waited_s * 1e3
                self._leave_queue()
                self._drop_announcement()
                async with runner.pool.lease(order.box) as container:
                    self._waiting = None
                    await self._converse(order, container, permit)
        except asyncio.CancelledError:
            if self._ending is None or self._waiting is None:
                raise
            # `end` interrupted the wait; any other cancellation is the caller's.
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            await self._exit(self._ending)
        except WsrunnerError as exc:
            if not self._announced:
                runner.metrics.count_refused(exc.code)
                raise
            log.warning("run %s: %s", self.run_id, exc)
            gate_gone = isinstance(exc, GateUnavailableError)
            await self._exit("lease_lost" if gate_gone else "engine_lost")
        finally:
            self._leave_queue()
            del runner.live[self.run_id]
            for task in self._tasks:
                task.cancel()

    async def _converse(self, order: Order, container: Container, permit: Permit) -> None:
        """Give the container its request and relay what comes back, until it has reported."""
        mark = bootstrap.new_mark()
        try:
            container.write(bootstrap.encode(order.plan, mark))
        except EngineUnavailableError:
            await self._exit(*await self._why_it_ended(container))
            return
        self._leased_s = time.monotonic()
        self._announced = True
        self._leased = container
        if not self._tty:
            self._accept_input(container, order.stdin)
        self._spawn(self._watch_lease(permit))
        loop = asyncio.get_running_loop()
        self._wall_timer = loop.call_later(order.plan.wall_s, self.end, "timeout")
        try:
            await self._begin("build" if order.plan.build else "run")
            reports = bootstrap.Reports(mark, tty=self._tty)
            report = await self._relay(order, container, reports)
        except bootstrap.BadReportError as exc:
            log.warning("run %s: %s", self.run_id, exc)
            await container.destroy()
            await self._send(self._batcher.finish())
            report = None
        finally:
            self._wall_timer.cancel()
            self._leased = self._container = None
            self._stdin_closed = True
        if report is None and self._ending is not None:
            await self._exit(self._ending)
        elif report is None:
            await self._exit(*await self._why_it_ended(container))
        else:
            await self._exit_as_reported(report, order.plan.cpu_s)

    async def _relay(
        self, order: Order, container: Container, reports: bootstrap.Reports
    ) -> bootstrap.Report | None:
        """Send output as it comes; return the last stage's report, None if it ended without."""
        batcher = self._batcher
        while True:
            due_s = batcher.deadline()
            try:
                frames = await container.read(None if due_s is None else due_s - time.monotonic())
            except TimeoutError:
                await self._send(batcher.due(time.monotonic()))
                continue
            for item in (item for frame in frames for item in reports.feed(frame)):
                if isinstance(item, Frame):
                    self._take(item, order.output_max_bytes)
                elif item.stage == "ready" and self._tty and self._container is None:
                    self._accept_input(container, order.stdin)
                elif item.stage != self.stage:
                    raise bootstrap.BadReportError(f"a report of {item.stage!r} in {self.stage!r}")
                elif item.stage == "build" and item.code == 0 and self._ending is None:
                    await self._send(batcher.finish())
                    await self._begin("run")
                else:
                    # The program has ended: from here on its client is waited for, not it.
                    self._wall_timer.cancel()
                    self._stop_waiting_for_client()
                    await self._send(batcher.finish())
                    return item
            if not frames:
                for frame in reports.rest():
                    self._take(frame, order.output_max_bytes)
                await self._send(batcher.finish())
                return None
            await self._send_due()

    async def _send_due(self) -> None:
        """Send what is due; pause a little if the program prints much faster than that."""
        chunks = self._batcher.due(time.monotonic())
        self._vain_reads = 0 if chunks else self._vain_reads + 1
        await self._send(chunks)
        if self._vain_reads > VAIN_READS_MAX:
            await asyncio.sleep(BREATH_S)

    def _take(self, frame: Frame, max_bytes: int) -> None:
        """Take output up to the limit, and end the run that exceeds it."""
        data = frame.data[: max_bytes - self._output_bytes]
        self._output_bytes += len(data)
        if len(data) < len(frame.data):
            self._truncated = True
            self.end("output_limit")
        if data:
            self._batcher.feed(frame.stream, data, time.monotonic())

    async def _send(self, chunks: list[Chunk]) -> None:
        if chunks and self.first_output_ms is None:
            self.first_output_ms = round((time.monotonic() - self._leased_s) * 1e3, 1)
        for chunk in chunks:
            self._seq += 1
            payload = protocol.output_payload(chunk.data)
            kind = protocol.Stderr if chunk.stream == STDERR else protocol.Stdout
            await self._emit(kind(id=self.id, seq=self._seq, **payload))

    async def _emit(self, event: protocol.ServerMessage) -> None:
        """Send an event, for as long as a client is waited for.

        Raises:
            SinkClosedError: The client is gone, or took too long over the last of it.
        """
        if self._deliver_by_s is None:
            await self._sink.send(event)
            return
        try:
            async with asyncio.timeout_at(self._deliver_by_s):
                await self._sink.send(event)
        except TimeoutError as exc:
            raise SinkClosedError("the client does not take the end of the output") from exc

    def _stop_waiting_for_client(self) -> None:
        """Bound the time for what is left to deliver: the run has ended, but holds its slot."""
        if self._deliver_by_s is None:
            wait_s = self._runner.settings.slow_client_s
            self._deliver_by_s = asyncio.get_running_loop().time() + wait_s

    async def _begin(self, stage: Stage) -> None:
        self.stage = stage
        self._stage_began_s = time.monotonic()
        await self._emit(protocol.Started(id=self.id, run=self.run_id, stage=stage))

    async def _exit_as_reported(self, report: bootstrap.Report, cpu_s: float) -> None:
        reason: Reason
        used_s = report.cpu_s or 0.0
        passed_on = report.code == bootstrap.SIGNAL_BASE + signals.SIGXCPU
        if self._ending is not None:
            reason = self._ending
        elif report.oom_kills and report.code != 0:
            reason = "out_of_memory"
        elif (
            report.signal == signals.SIGXCPU
            # The hard limit, for a program that ignores that.
            or (report.signal == signals.SIGKILL and used_s >= cpu_s)
            # A shell between us and the program passed the signal on as a code.
            or (passed_on and used_s >= CPU_SKEW * cpu_s)
        ):
            reason = "cpu_limit"
        else:
            reason = "exited" if report.signal is None else "signaled"
        await self._exit(reason, report)

    async def _exit(
        self, reason: Reason, report: bootstrap.Report | None = None, number: int | None = None
    ) -> None:
        # Nothing about it comes after its exit.
        self._drop_announcement()
        if self._drainer is not None:
            self._drainer.cancel()
        if report is not None:
            number = report.signal
        wall_s = 0.0 if self.stage == "queue" else time.monotonic() - self._stage_began_s
        event = protocol.Exit(
            id=self.id,
            run=self.run_id,
            stage=self.stage,
            reason=reason,
            code=report.code if report and reason == "exited" else None,
            signal=_signal_name(number) if reason == "signaled" else None,
            queued_ms=round(self._queued_ms, 1),
            wall_ms=round(wall_s * 1e3, 1),
            cpu_ms=round(report.cpu_s * 1e3, 1) if report and report.cpu_s is not None else None,
            memory_kb=report.peak_bytes // KIB if report and report.peak_bytes else None,
            output_bytes=self._output_bytes,
            truncated=self._truncated,
        )
        self._runner.metrics.count_exit(self.language, event)
        self._runner.on_ended(self, event)
        log.info("run %s: %s after %.0f ms", self.run_id, reason, wall_s * 1e3)
        await self._emit(event)

    async def _why_it_ended(self, container: Container) -> tuple[Reason, None, int | None]:
        """Say why a container went away without a report, as arguments for `_exit`."""
        try:
            await self._runner.engine.ping()
            if await container.oom_killed():
                return "out_of_memory", None, None
            # An engine that is shutting down still answers while it kills.
            await self._runner.engine.ping()
        except EngineUnavailableError:
            return "engine_lost", None, None
        if self.stage == "queue":
            return "engine_lost", None, None
        # The engine is well, so somebody killed it: its operator, or the program itself.
        return "signaled", None, int(signals.SIGKILL)

    # The queue.

    def _leave_queue(self) -> None:
        self._runner.give_queue_bytes(self._queued_bytes)
        self._queued_bytes = 0

    def _moved(self, position: int, waiting: int) -> None:
        """Take a new queue position; the gate calls this and must not wait."""
        self._announced = True
        self._position = (position, waiting)
        if self._announcer is None or self._announcer.done():
            self._announcer = self._spawn(self._announce())

    async def _announce(self) -> None:
        while self._position is not None:
            (position, waiting), self._position = self._position, None
            await self._emit(
                protocol.Queued(id=self.id, run=self.run_id, position=position, waiting=waiting)
            )
        self._announcer = None

    def _drop_announcement(self) -> None:
        """Keep a position from being sent after the start, or the end.

        One that is on its way to a slow client has been written whole and is only waited for.
        """
        self._position = None
        if self._announcer is not None:
            self._announcer.cancel()

    # Input.

    def _accept_input(self, container: Container, stdin: bytes | None) -> None:
        """Forward what came early; from now on input goes straight to the container."""
        self._container = container
        if stdin is not None:
            container.write(stdin)
            if self._tty and stdin and not stdin.endswith(b"\n"):
                # In the middle of a line ^D only hands over the line.
                container.write_eof()
            container.write_eof()
        if self._early_stdin:
            self._write_stdin(container, bytes(self._early_stdin))
            self._early_stdin.clear()
        if self._early_eof:
            container.write_eof()
        self._tell_engine()

    def _unread_stdin_bytes(self, container: Container) -> int:
        """Return how much of the client's stdin the engine has not taken, the request left out."""
        return min(container.unread_stdin_bytes, self._stdin_bytes)

    def _write_stdin(self, container: Container, data: bytes) -> None:
        # A container that has just ended takes nothing; its exit is on the way.
        with contextlib.suppress(EngineUnavailableError):
            container.write(data)
        self._stdin_bytes += len(data)
        waits = self._unread_stdin_bytes(container) > STDIN_WINDOW_BYTES
        owed = self._stdin_bytes - self._drained_bytes >= DRAINED_EVERY_BYTES
        if (waits or owed) and (self._drainer is None or self._drainer.done()):
            self._drainer = self._spawn(self._report_drained(container))

    async def _report_drained(self, container: Container) -> None:
        while True:
            await container.drain()
            taken = self._stdin_bytes - self._unread_stdin_bytes(container)
            if taken <= self._drained_bytes:
                # What is left is too little to wait for; the next stdin asks again.
                return
            self._drained_bytes = taken
            await self._emit(protocol.Drained(id=self.id, bytes=taken))

    def _tell_engine(self) -> None:
        """Have signals and the window size passed on, one request to the engine at a time."""
        if self._container is not None and (self._signaller is None or self._signaller.done()):
            self._signaller = self._spawn(self._pass_on(self._container))

    async def _pass_on(self, container: Container) -> None:
        while self._signals or self._window is not None:
            try:
                if self._window is not None:
                    (columns, rows), self._window = self._window, None
                    await container.resize(columns, rows)
                while self._signals:
                    name = next(iter(self._signals))
                    del self._signals[name]
                    await container.signal(name)
            except EngineUnavailableError as exc:
                log.debug("run %s: %s", self.run_id, exc)

    # Its end.

    async def _kill(self, container: Container) -> None:
        """Kill the program so that the bootstrap can still report; then, at last, the container."""
        with contextlib.suppress(EngineUnavailableError):
            await container.signal("SIGKILL")
            await asyncio.sleep(KILL_GRACE_S)
        await container.destroy()

    async def _watch_lease(self, permit: Permit) -> None:
        await permit.lost.wait()
        self.end("lease_lost")

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        exc = None if task.cancelled() else task.exception()
        if exc is not None and not isinstance(exc, SinkClosedError):
            log.error("run %s: a task failed", self.run_id, exc_info=exc)


def _signal_name(number: int | None) -> str | None:
    if number is None:
        return None
    try:
        return signals.Signals(number).name
    except ValueError:
        first = int(signals.SIGRTMIN)
        return f"SIGRTMIN+{number - first}" if number >= first else f"SIG{number}"
