"""One run on the server, as its caller holds it: output, stdin, signals, exit.

Owns no task. What the server says comes through its `Course`, what is sent goes through the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Self, get_args

from wsrunner import protocol
from wsrunner.client import encoding
from wsrunner.client.course import Course
from wsrunner.client.files import LeftOut, RunFile
from wsrunner.client.flow import Output
from wsrunner.protocol import Exit

Send = Callable[[protocol.ClientMessage], Awaitable[None]]


class Keys(NamedTuple):
    """A kept run's name, and the secrets that open it.

    Attributes:
        run: The server's name for it.
        drive: For those who may type, signal and cancel; None where it is not known here.
        view: For those who may watch; likewise.
    """

    run: str
    drive: str | None
    view: str | None


class Run:
    """One run on the server; `Client.run` makes it.

    ``async for output in run`` yields `Output` until the run ended. One task may iterate at a time.
    At most `flow.OUTPUT_BUFFER_BYTES` are kept for a consumer that is slower than the program:
    beyond that the client stops reading its socket, so that the program has to wait. **All runs of
    one `Client` share that socket**: iterate each of them, or give a slow one a client of its own.
    The server drops a client that takes nothing for long (30 s by default).
    """

    def __init__(self, send: Send, course: Course) -> None:
        self._send = send
        self._course = course
        self._consumer: asyncio.Task[Any] | None = None
        self._stdin_lock = asyncio.Lock()

    def __repr__(self) -> str:
        course = self._course
        state = course.exit.reason if course.exit else "lost" if course.failure else course.stage
        return f"<Run {self.id} {state}>"

    @property
    def id(self) -> str:
        """This client's name for the run."""
        return self._course.id

    @property
    def keys(self) -> Keys | None:
        """What others need to attach to it, see `Client.attach`; None if it is not kept."""
        keeping = self._course.keeping
        if keeping is None or keeping.run is None:
            return None
        return Keys(keeping.run, keeping.drive, keeping.view)

    @property
    def tty(self) -> bool:
        """Whether the program of a kept run has a terminal."""
        return self._course.keeping is not None and self._course.keeping.tty

    @property
    def missed_bytes(self) -> int:
        """Output of a kept run that was lost while the client was away for too long."""
        return self._course.keeping.missed_bytes if self._course.keeping else 0

    @property
    def position(self) -> int | None:
        """Place in the queue, 1 is next; None when it doesn't wait (any more)."""
        return self._course.position

    @property
    def waiting(self) -> int | None:
        """How many wait, this one too; None when it doesn't wait (any more)."""
        return self._course.waiting

    @property
    def stage(self) -> protocol.Stage:
        """``queue``, ``build`` or ``run``: the one it is in, or ended in."""
        return self._course.stage

    @property
    def workspace(self) -> str | None:
        """``new``, or ``kept`` with the files of earlier runs; None until it starts, or without."""
        return self._course.workspace

    @property
    def files(self) -> Sequence[RunFile]:
        """What it has made of its ``outputs``: all of it once `exit` has returned."""
        return self._course.incoming.files

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What of its ``outputs`` did not come."""
        return self._course.incoming.left_out

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        """Return the next piece of output.

        Raises:
            RunRefusedError: The server refused something about this run.
            ConnectionLostError: The connection ended before the run, after all that arrived.

        Cancelling is safe: no output is lost.
        """
        self._consumer = asyncio.current_task()
        output = await self._course.next_output()
        if output is None:
            raise StopAsyncIteration
        return output

    async def exit(self) -> Exit:
        """Wait until the run ended and return how.

        Output that nobody iterates over is discarded meanwhile: waiting can't get stuck on it.

        Raises:
            RunRefusedError: The server refused something about this run.
            ConnectionLostError: The connection ended before the run.

        Cancelling is safe; the run goes on.
        """
        consumer = self._consumer
        if consumer is None or consumer.done() or consumer is asyncio.current_task():
            self._course.outputs.discard()
        await self._course.ended.wait()
        self._course.complain()
        if self._course.exit is None:
            assert self._course.failure is not None
            raise self._course.failure
        return self._course.exit

    async def stdin(self, data: str | bytes) -> None:
        """Send bytes for the program's stdin; after the run's end this does nothing.

        Returns when all of it is sent. More than `flow.STDIN_WINDOW_BYTES` that the program did not
        read yet make it wait.

        Raises:
            ConnectionLostError: The connection is gone.

        Cancelling is safe, but an unknown part of `data` has been sent.
        """
        raw = data.encode() if isinstance(data, str) else data
        async with self._stdin_lock:
            for chunk in encoding.chunks(raw):
                if not await self._course.window.send(len(chunk)):
                    return
                await self._send(encoding.stdin_message(self.id, chunk))

    async def eof(self) -> None:
        """Send end of file for the program's stdin, after all that was sent before.

        Raises:
            ConnectionLostError: The connection is gone.

        Cancelling is safe.
        """
        async with self._stdin_lock:
            await self._request(protocol.Eof(id=self.id))

    async def signal(self, name: str) -> None:
        """Send a signal such as ``SIGINT`` to the program's process group.

        Raises:
            ValueError: Not one of `protocol.Signal`.
            ConnectionLostError: The connection is gone.

        Cancelling is safe.
        """
        allowed = get_args(protocol.Signal)
        if name not in allowed:
            raise ValueError(f"no signal {name!r}: one of {', '.join(allowed)}")
        await self._request(protocol.SendSignal(id=self.id, signal=name))  # type: ignore[arg-type]

    async def resize(self, columns: int, rows: int) -> None:
        """Set the window size of a terminal run, in character cells (1 to 1000).

        Raises:
            ConnectionLostError: The connection is gone.

        Cancelling is safe.
        """
        await self._request(protocol.Resize(id=self.id, columns=columns, rows=rows))

    async def cancel(self) -> None:
        """End the run wherever it is; its `exit` follows, with the reason ``cancelled``.

        Raises:
            ConnectionLostError: The connection is gone, which cancels the run as well.

        Cancelling is safe.
        """
        await self._request(protocol.Cancel(id=self.id))

    async def detach(self) -> None:
        """Leave a kept run, which goes on as `keep_s` says; iterating and `exit` then raise.

        Raises:
            ConnectionLostError: The connection is gone.

        Cancelling is safe.
        """
        await self._request(protocol.Detach(id=self.id))

    async def _request(self, message: protocol.ClientMessage) -> None:
        # A run that ended takes nothing more; that it ended is no fault of the caller's.
        if not self._course.ended.is_set():
            await self._send(message)
