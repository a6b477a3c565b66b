"""What goes to a program: stdin, signals, the window's size.

Owns it while there is no container to take it yet, and the flow control of stdin. Nothing here
waits for output, so control never queues behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from wsrunner.engines.base import Container
from wsrunner.errors import EngineUnavailableError, NoSuchRunError, TooLargeError
from wsrunner.runs.asking import Asking
from wsrunner.runs.delivery import Delivery
from wsrunner.runs.events import Drained
from wsrunner.runs.memory import Held
from wsrunner.runs.tasks import Tasks
from wsrunner.units import KIB

log = logging.getLogger(__name__)

STDIN_MAX_BYTES = 2**20
"""Unread stdin a run may have; more is refused with too_large."""
STDIN_WINDOW_BYTES = 64 * KIB
DRAINED_EVERY_BYTES = 128 * KIB


class Input:
    """One program's input.

    Args:
        tty: Whether it has a terminal.
        given: Whether all of stdin came with the job, so that no more is taken.
        held: Counts what is kept until the program can take it.
        delivery: Where `Drained` goes.
        tasks: Of the run.
        asking: Hears what goes to the program.
    """

    __slots__ = (
        "_asking",
        "_closed",
        "_container",
        "_delivery",
        "_drained_bytes",
        "_drainer",
        "_early",
        "_early_eof",
        "_held",
        "_signaller",
        "_signals",
        "_tasks",
        "_tty",
        "_window",
        "_written_bytes",
    )

    def __init__(
        self,
        *,
        tty: bool,
        given: bool,
        held: Held,
        delivery: Delivery,
        tasks: Tasks,
        asking: Asking,
    ) -> None:
        self._tty = tty
        self._closed = given
        self._held = held
        self._delivery = delivery
        self._tasks = tasks
        self._asking = asking
        self._container: Container | None = None  # once it takes input
        # Input that came before.
        self._early = bytearray()
        self._early_eof = False
        # What the engine has not been told yet: the same signal twice is one, as for any process.
        self._signals: dict[str, None] = {}
        self._window: tuple[int, int] | None = None
        self._signaller: asyncio.Task[None] | None = None
        self._written_bytes = 0
        self._drained_bytes = 0
        self._drainer: asyncio.Task[None] | None = None

    # What the client may send, at any time; none of these waits.

    def stdin(self, data: bytes) -> None:
        """Pass bytes to the program's stdin.

        Raises:
            NoSuchRunError: Its stdin was given with the run, or has been ended.
            TooLargeError: The program has not read what it got; nothing of `data` was taken.
            QueueFullError: It still waits, and all that wait keep too much in memory; likewise.
        """
        if self._closed:
            raise NoSuchRunError("the stdin of this run has been ended", path="$.id")
        container = self._container
        waiting = len(self._early) if container is None else self._unread_bytes(container)
        if waiting + len(data) > STDIN_MAX_BYTES:
            raise TooLargeError(
                f"{len(data)} bytes of stdin on top of {waiting} bytes that the program has not "
                f"read; the limit is {STDIN_MAX_BYTES} bytes",
                path="$.data",
            )
        if container is None:
            self._held.take(len(data))
            self._early += data
        else:
            self._write(container, data)

    def eof(self) -> None:
        """End the program's stdin.

        Raises:
            NoSuchRunError: It has been ended already.
        """
        if self._closed:
            raise NoSuchRunError("the stdin of this run has been ended", path="$.id")
        # On a terminal ^D ends one read, not the stream.
        self._closed = not self._tty
        if self._container is None:
            self._early_eof = True
        else:
            self._asking.input(time.monotonic())
            self._container.write_eof()

    def signal(self, name: str) -> None:
        """Send a signal to the program, once it has started if it is still waiting."""
        self._asking.input(time.monotonic())
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

    # What the run says of its container.

    def open(self, container: Container, stdin: bytes | None) -> None:
        """Pass on what came early; from now on input goes straight to the container.

        Args:
            container: It takes the program's input now.
            stdin: All of it, if it came with the job.
        """
        self._container = container
        if stdin is not None:
            container.write(stdin)
            if self._tty and stdin and not stdin.endswith(b"\n"):
                # In the middle of a line ^D only hands over the line.
                container.write_eof()
            container.write_eof()
        if self._early:
            self._write(container, bytes(self._early))
            self._early.clear()
        if self._early_eof:
            container.write_eof()
        self._tell_engine()

    def close(self) -> None:
        """Take no more stdin: the program has ended."""
        self._container = None
        self._closed = True

    def hush(self) -> None:
        """Tell nothing more of what was taken: the run's exit comes next."""
        if self._drainer is not None:
            self._drainer.cancel()

    def _unread_bytes(self, container: Container) -> int:
        """Return how much of the client's stdin the engine has not taken, the plan left out."""
        return min(container.unread_stdin_bytes, self._written_bytes)

    def _write(self, container: Container, data: bytes) -> None:
        # A container that has just ended takes nothing; its exit is on the way.
        with contextlib.suppress(EngineUnavailableError):
            self._asking.input(time.monotonic())
            container.write(data)
        self._written_bytes += len(data)
        waits = self._unread_bytes(container) > STDIN_WINDOW_BYTES
        owed = self._written_bytes - self._drained_bytes >= DRAINED_EVERY_BYTES
        if (waits or owed) and (self._drainer is None or self._drainer.done()):
            self._drainer = self._tasks.start(self._report_drained(container))

    async def _report_drained(self, container: Container) -> None:
        while True:
            await container.drain()
            taken = self._written_bytes - self._unread_bytes(container)
            if taken <= self._drained_bytes:
                # What is left is too little to wait for; the next stdin asks again.
                return
            self._drained_bytes = taken
            await self._delivery.send(Drained(taken))

    def _tell_engine(self) -> None:
        """Have signals and the window size passed on, one request to the engine at a time."""
        if self._container is not None and (self._signaller is None or self._signaller.done()):
            self._signaller = self._tasks.start(self._pass_on(self._container))

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
                log.debug("container %s: %s", container.id[:12], exc)
