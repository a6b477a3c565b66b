"""How one run goes, as the server tells it: fed by the client's reader, looked at by a `Run`.

Owns no task and sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wsrunner import protocol
from wsrunner.client import flow
from wsrunner.client.errors import ConnectionLostError, RunRefusedError
from wsrunner.client.files import Incoming
from wsrunner.client.flow import Buffer, Output, StdinWindow, StreamName
from wsrunner.client.keeping import Keeping
from wsrunner.protocol import Exit

QueuedListener = Callable[[int, int], None]
"""Called with (position, waiting): 1 is next in line; `waiting` counts all that wait."""
StartedListener = Callable[[str], None]
"""Called with the stage that begins: ``build`` or ``run``."""
WaitingListener = Callable[[], None]
"""Called when the program waits for input."""
GapListener = Callable[[int], None]
"""Called with the bytes of a kept run's output that nobody has any more."""


class Course:
    """What the server said about one run, and how far anybody has looked at it.

    Attributes:
        outputs: What it printed and nobody took yet.
        incoming: The files it has made, as far as they have come.
        window: Its stdin on the way.
        answered: Set once the server accepted or refused the run.
        ended: Set once nothing comes any more; then one of the next two is set.
        exit: How it ended on the server.
        failure: Why its end is not known here.
        keeping: What it takes to come back to it, if it is kept.
    """

    def __init__(
        self,
        run_id: str,
        on_queued: QueuedListener | None = None,
        on_started: StartedListener | None = None,
        *,
        keeping: Keeping | None = None,
        on_gap: GapListener | None = None,
        on_waiting: WaitingListener | None = None,
    ) -> None:
        self.id = run_id
        self.keeping = keeping
        self.position: int | None = None
        self.waiting: int | None = None
        self.stage: protocol.Stage = "queue"
        self.workspace: str | None = None
        self.outputs: Buffer[Output] = Buffer(flow.OUTPUT_BUFFER_BYTES)
        self.incoming = Incoming()
        self.window = StdinWindow()
        self.answered = asyncio.Event()
        self.ended = asyncio.Event()
        self.exit: Exit | None = None
        self.failure: Exception | None = None
        self._complaint: RunRefusedError | None = None
        self._news = asyncio.Event()
        self._on_queued = on_queued
        self._on_started = on_started
        self._on_gap = on_gap
        self._on_waiting = on_waiting

    def take(self, event: protocol.ServerMessage) -> bool:  # noqa: C901, PLR0912 - a flat table
        """Take what the server says; tell whether the output buffer is full now."""
        keeping = self.keeping
        if keeping is not None and not keeping.new(event):
            return False  # said again on a new socket
        match event:
            case protocol.Stdout():  # and Stderr, its subclass
                stream: StreamName = "stderr" if isinstance(event, protocol.Stderr) else "stdout"
                data = protocol.content_bytes(event.data, event.base64, "$")
                if keeping is not None:
                    keeping.saw(len(data))
                full = self.outputs.put(Output(stream, data), len(data))
                self._news.set()
                return full
            case protocol.Queued():
                self.position, self.waiting = event.position, event.waiting
                self.answered.set()
                if self._on_queued is not None:
                    self._on_queued(event.position, event.waiting)
            case protocol.Started():
                self.position = self.waiting = None
                self.stage = event.stage
                self.workspace = event.workspace or self.workspace
                self.answered.set()
                if self._on_started is not None:
                    self._on_started(event.stage)
            case protocol.OutputFile() | protocol.LeftOut():
                self.incoming.take(event)
            case protocol.Waiting():
                if self._on_waiting is not None:
                    self._on_waiting()
            case protocol.Drained():
                self.window.taken(event.bytes)
                if keeping is not None:
                    keeping.drained(event.bytes)
            case Exit():
                self.end(event)
            case _ if keeping is not None:
                self._take_kept(event, keeping)
        return False

    def _take_kept(self, event: protocol.ServerMessage, keeping: Keeping) -> None:
        """Take what the server says of kept runs alone."""
        match event:
            case protocol.Accepted():
                keeping.accepted(event)
                self.answered.set()
            case protocol.Attached():
                keeping.attached(event)
                self.stage = event.stage
                self.answered.set()
            case protocol.Gap():
                missed = keeping.gap(event)
                self.incoming.tear()
                if self._on_gap is not None:
                    self._on_gap(missed)
            case protocol.Detached():
                self.end(ConnectionLostError("this client has left the run, which may go on"))

    def refuse(self, error: RunRefusedError) -> None:
        """Keep what the server refused about a run that goes on, for who next looks at it."""
        self._complaint = error
        self._news.set()

    def end(self, outcome: Exit | Exception) -> None:
        """End it: with the server's word, or without because of an error."""
        if isinstance(outcome, Exit):
            self.exit = outcome
            self.stage = outcome.stage
        else:
            self.failure = outcome
        self.position = self.waiting = None
        self.outputs.end()
        self.window.end()
        for event in (self.answered, self._news, self.ended):
            event.set()

    def complain(self) -> None:
        """Raise once what the server refused while the run goes on."""
        if self._complaint is not None:
            complaint, self._complaint = self._complaint, None
            raise complaint

    async def next_output(self) -> Output | None:
        """Return the next piece of output; None at the end.

        The errors are those of iterating over a `Run`. Cancelling is safe: no output is lost.
        """
        while not self.outputs:
            if self.outputs.dropped:
                raise RuntimeError(
                    "exit() discarded this run's output: iterate first, or collect()"
                )
            self.complain()
            if self.ended.is_set():
                if self.failure is not None:
                    raise self.failure
                return None
            self._news.clear()
            await self._news.wait()
        return self.outputs.take()
