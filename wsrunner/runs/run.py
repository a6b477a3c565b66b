"""One run, from its job to its exit.

Owns the course of a run: admission, container, stages, limits, outcome. Its input is `input`'s, its
output `output`'s, why it ended `verdict`'s. Knows a reader of its events and no socket.

The tasks of a run:

    execute                 (turn →) admit → lease → begin → read, cut, deliver → files → exit
    ├─ announcer            tells the newest queue position while one is due, else absent
    ├─ lease watch          ends the run if the gate loses its permit
    ├─ CPU watch            ends the run when all of its processes have used up their CPU time
    ├─ stdin drain          tells the client that much stdin was taken, else absent
    ├─ signaller            passes signals and the window size on to the engine, else absent
    └─ end                  kills the program, then after a grace the container, else absent

Who calls `input` or `end` never waits for output.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from wsrunner.engines.base import (
    Asks,
    BadReportError,
    Container,
    Ended,
    Frame,
    Item,
    Ready,
    Report,
)
from wsrunner.errors import EngineUnavailableError, GateUnavailableError, WsrunnerError
from wsrunner.gates.base import Permit, Ticket
from wsrunner.runs import cpu, verdict
from wsrunner.runs.announcer import Announcer
from wsrunner.runs.asking import Asking
from wsrunner.runs.delivery import Delivery, Reader
from wsrunner.runs.events import Exit, Reason, Stage, Started, Waiting
from wsrunner.runs.files import Outgoing
from wsrunner.runs.host import Host
from wsrunner.runs.input import Input
from wsrunner.runs.job import Job, Principal
from wsrunner.runs.memory import Held
from wsrunner.runs.order import Order
from wsrunner.runs.output import OutputStream
from wsrunner.runs.tasks import Tasks
from wsrunner.runs.verdict import Verdict
from wsrunner.runs.workspaces import Turn, owner_of
from wsrunner.units import MIB

log = logging.getLogger(__name__)

KILL_GRACE_S = 1.0
"""How long a killed program's report is waited for before its container is destroyed."""


def new_run_id() -> str:
    """Return a name for a run that no other has. It is no secret."""
    return secrets.token_hex(8)


class Run:
    """One run of a job; made by `Registry.start`.

    Attributes:
        run_id: The server's name for it.
        principal: Whose it is.
        language: The catalogue's id, once it has been looked up.
        stage: Where it is.
        admitted: Whether it has a slot, or had.
        first_output_s: Seconds from its first stage's beginning to its first output, once there is
            any.
        input: What its client may send to it.
        delivery: What its reader hears of it.
    """

    # Ten thousand may wait: a dictionary of so many names would take 1.3 KB each.
    __slots__ = (
        "_announcer",
        "_asking",
        "_begun_s",
        "_born_s",
        "_container",
        "_cpu_watch",
        "_ending",
        "_held",
        "_host",
        "_job",
        "_output",
        "_owner",
        "_queued_s",
        "_stage_begun_s",
        "_tasks",
        "_tty",
        "_turn",
        "_waiting",
        "_wall_timer",
        "admitted",
        "delivery",
        "input",
        "language",
        "principal",
        "run_id",
        "stage",
    )

    def __init__(
        self,
        job: Job,
        principal: Principal,
        *,
        host: Host,
        reader: Reader,
        run_id: str | None = None,
    ) -> None:
        self.run_id = run_id or new_run_id()
        self.principal = principal
        self._turn: Turn | None = None  # in its workspace, if it has one
        self.language = ""
        self.stage: Stage = "queue"
        self.admitted = False
        self._host = host
        self._job: Job | None = job
        self._tty = job.window is not None
        self._born_s = time.monotonic()
        self._queued_s = self._begun_s = self._stage_begun_s = 0.0
        self._ending: Reason | None = None
        self._waiting: asyncio.Task[None] | None = None  # the task to interrupt, before a lease
        self._container: Container | None = None  # while it carries out the plan
        self._wall_timer: asyncio.TimerHandle
        self._cpu_watch: asyncio.Task[None]
        self._tasks = Tasks(self.run_id)
        self._held = Held(host.queue_memory)
        self.delivery = Delivery(reader)
        self._announcer = Announcer(self.delivery, self._tasks)
        self._output = OutputStream(self.delivery, tty=self._tty)
        self._asking = Asking()
        self.input = Input(
            tty=self._tty,
            given=job.stdin is not None,
            held=self._held,
            delivery=self.delivery,
            tasks=self._tasks,
            asking=self._asking,
        )

    def __repr__(self) -> str:
        return f"<run {self.run_id} {self.language} {self.stage}>"

    @property
    def first_output_s(self) -> float | None:
        """See `Run`."""
        first_s = self._output.first_s
        return None if first_s is None else first_s - self._begun_s

    def age_s(self) -> float:
        """Return the seconds since it came."""
        return time.monotonic() - self._born_s

    def end(self, reason: Reason) -> None:
        """End it wherever it is; its exit will carry `reason`, if it is the first to end it."""
        if self._ending is not None:
            return
        self._ending = reason
        self._bound_delivery()
        if self._container is not None:
            self._tasks.start(_kill(self._container))
        elif self._waiting is not None:
            self._waiting.cancel()

    async def execute(self) -> None:
        """Take its course; delivers exactly one exit, as the last event.

        Raises:
            WsrunnerError: It was not accepted (see `Host.order`; or the queue is full, the gate
                or the engine is away), and no event was delivered.
            ReaderGoneError: Nobody reads it any more; it has been ended.

        Cancelling is safe at every await: the container is destroyed and the slot is freed.
        """
        self._waiting = asyncio.current_task()
        try:
            if self._ending is not None:
                # Ended by a message that came in the same read as its request.
                await self._exit(Verdict(self._ending))
            else:
                await self._admitted(await self._ordered())
        except asyncio.CancelledError:
            if self._ending is None or self._waiting is None:
                raise
            # `end` interrupted the wait; any other cancellation is the caller's.
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            await self._exit(Verdict(self._ending))
        except WsrunnerError as exc:
            if not (self._announcer.began or self._begun_s):
                self._host.tell_refused(exc)
                if isinstance(exc, (EngineUnavailableError, GateUnavailableError)):
                    log.warning("run %s refused: %s", self.run_id, exc)
                raise
            log.warning("run %s: %s", self.run_id, exc)
            gate_gone = isinstance(exc, GateUnavailableError)
            await self._exit(Verdict("lease_lost" if gate_gone else "engine_lost"))
        finally:
            self._held.release()
            self._tasks.cancel()

    # Its course.

    async def _ordered(self) -> Order:
        """Have the job checked, and count what it keeps while it waits."""
        assert self._job is not None
        order = await self._host.order(self._job, self.principal.may)
        self._job = None  # it may wait for long, and the order holds all of it
        self.language = order.language
        self._held.take(order.size_bytes())
        self._host.tell_accepted(self)
        return order

    async def _admitted(self, order: Order) -> None:
        """Wait for its turn, a slot and a container, and carry the order out."""
        lend = functools.partial(self._host.pool.lease, order.box)
        if order.workspace is None:
            await self._with_slot(order, lend)
            return
        # First the turn, then the slot: who waits for another run holds none.
        owner = owner_of(self.principal)
        async with self._host.workspaces.turn(owner, order.workspace, order.box) as turn:
            self._turn = turn
            await self._with_slot(order, turn.lease)

    async def _with_slot(
        self, order: Order, lend: Callable[[], AbstractAsyncContextManager[Container]]
    ) -> None:
        host = self._host
        whose = self.principal
        ticket = Ticket(self.run_id, whose.tenant, host.engine_name, whose.user)
        async with host.gate.admit(ticket, on_position=self._announcer.moved) as permit:
            self.admitted = True
            self._queued_s = permit.waited_s
            self._held.release()
            self._announcer.drop()
            async with lend() as container:
                self._waiting = None
                await self._carry_out(order, container, permit)

    async def _carry_out(self, order: Order, container: Container, permit: Permit) -> None:
        """Give the container its plan and deliver what comes back, until it has reported."""
        try:
            container.begin(order.plan)
        except EngineUnavailableError:
            await self._exit(await self._why_it_ended(container))
            return
        self._begun_s = time.monotonic()
        self._container = container
        if not self._tty:
            self.input.open(container, order.stdin)
        self._tasks.start(self._watch_lease(permit))
        self._cpu_watch = self._tasks.start(self._watch_cpu(order, container))
        loop = asyncio.get_running_loop()
        self._wall_timer = loop.call_later(order.plan.wall_s, self.end, "timeout")
        try:
            await self._begin("build" if order.plan.build else "run")
            report = await self._relay(order, container)
        except BadReportError as exc:
            log.warning("run %s: %s", self.run_id, exc)
            await container.destroy()
            await self._output.finish()
            report = None
        finally:
            self._stop_clocks()
            self._container = None
            self.input.close()
        if report is not None:
            judged = verdict.of_report(report, ending=self._ending, cpu_limit_s=order.plan.cpu_s)
            await self._exit(judged, report)
        elif self._ending is not None:
            await self._exit(Verdict(self._ending))
        else:
            await self._exit(await self._why_it_ended(container))

    async def _relay(self, order: Order, container: Container) -> Report | None:
        """Deliver output as it comes; return the last stage's report, None if it ended without."""
        output = self._output
        while True:
            try:
                items = await container.read(self._due_in_s())
            except TimeoutError:
                await output.send_due(pace=False)
                await self._tell_waiting()
                continue
            for at, item in enumerate(items, start=1):
                if isinstance(item, Frame):
                    self._take(item, order.output_max_bytes)
                elif isinstance(item, Ready):
                    self.input.open(container, order.stdin)
                elif isinstance(item, Asks):
                    self._asking.saw(waiting=item.waiting)
                elif item.stage == "build" and item.code == 0 and self._ending is None:
                    await output.finish()
                    await self._begin("run")
                else:
                    # The program has ended: from here on its reader is waited for, not it.
                    self._stop_clocks()
                    self._bound_delivery()
                    await output.finish()
                    if order.plan.outputs and item.stage == "run" and self._ending is None:
                        await self._bring_files(order, container, items[at:])
                    return item
            if not items:
                await output.finish()
                return None
            await output.send_due(pace=True)
            await self._tell_waiting()

    def _due_in_s(self) -> float | None:
        """Return the seconds until something is due even if nothing more comes; None for never."""
        output_s, asking_s = self._output.due_in_s(), self._asking.due_s()
        if asking_s is None:
            return output_s
        asking_in_s = max(asking_s - time.monotonic(), 0.0)
        return asking_in_s if output_s is None else min(output_s, asking_in_s)

    async def _tell_waiting(self) -> None:
        """Tell that the program wants input, if that is due, behind what it has printed."""
        due_s = self._asking.due_s()
        if due_s is None or time.monotonic() < due_s:
            return
        self._asking.told()
        await self._output.finish()
        await self.delivery.send(Waiting(self.delivery.number()))

    async def _bring_files(self, order: Order, container: Container, first: Sequence[Item]) -> None:
        settings = self._host.settings
        outgoing = Outgoing(
            order.plan.outputs,
            order.plan.files,
            max_bytes=settings.files_mb * MIB,
            delivery=self.delivery,
        )
        await outgoing.bring(container, first, wait_s=settings.slow_client_s)

    def _take(self, frame: Frame, max_bytes: int) -> None:
        """Take output, and end the run that exceeds its limit."""
        self._output.take(frame, max_bytes)
        if self._output.truncated:
            self.end("output_limit")

    async def _begin(self, stage: Stage) -> None:
        self.stage = stage
        self._stage_begun_s = time.monotonic()
        turn, self._turn = self._turn, None
        state = None if turn is None else turn.state
        await self.delivery.send(Started(self.delivery.number(), stage, state))

    # Its end.

    async def _exit(self, judged: Verdict, report: Report | None = None) -> None:
        # Nothing about it comes after its exit.
        self._announcer.drop()
        self.input.hush()
        wall_s = 0.0 if self.stage == "queue" else time.monotonic() - self._stage_begun_s
        if report is not None and report.wall_s is not None:
            wall_s = report.wall_s
        event = Exit(
            seq=self.delivery.number(),
            stage=self.stage,
            reason=judged.reason,
            code=judged.code,
            signal=judged.signal,
            queued_s=self._queued_s,
            wall_s=wall_s,
            cpu_s=report.cpu_s if report else None,
            memory_bytes=report.peak_bytes if report else None,
            output_bytes=self._output.taken_bytes,
            truncated=self._output.truncated,
        )
        self._host.tell_ended(self, event)
        await self.delivery.send(event)

    async def _why_it_ended(self, container: Container) -> Verdict:
        """Say why a container went away without a report."""
        if self.stage == "queue":
            return Verdict("engine_lost")
        ended = await container.ended()
        if ended is Ended.LOST:
            return Verdict("engine_lost")
        if ended is Ended.OUT_OF_MEMORY:
            return Verdict("out_of_memory")
        return Verdict("signaled", signal="SIGKILL")

    def _bound_delivery(self) -> None:
        self.delivery.bound(self._host.settings.slow_client_s)

    def _stop_clocks(self) -> None:
        self._wall_timer.cancel()
        self._cpu_watch.cancel()

    async def _watch_lease(self, permit: Permit) -> None:
        await permit.lost.wait()
        self.end("lease_lost")

    async def _watch_cpu(self, order: Order, container: Container) -> None:
        await cpu.used_up(container, limit_s=order.plan.cpu_s, cpus=order.box.cpus)
        self.end("cpu_limit")


async def _kill(container: Container) -> None:
    """Kill the program so that it can still be reported; then, at last, the container."""
    with contextlib.suppress(EngineUnavailableError, TimeoutError):
        # An engine that hangs must not put off what the client is told.
        async with asyncio.timeout(KILL_GRACE_S):
            await container.signal("SIGKILL")
        await asyncio.sleep(KILL_GRACE_S)
    await container.destroy()
