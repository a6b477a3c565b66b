"""The client: one connection, and any number of runs on it.

Owns the client's end of the JSON protocol: run ids, and which error means which run. The words on
the wire are `protocol`'s. Nothing in this package imports the server's modules, click or a
terminal: ``wsrunner run`` is built on it.

::

    Client ── reader task ── decodes and hands each message to its run's Course
           ├─ keepalive task ── finds out when the server is gone
           └─ a task for each stdin too big for the request, and for each cancel nobody waits for
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from msgspec import UNSET

from wsrunner import address, protocol
from wsrunner.address import DEFAULT_URL
from wsrunner.client import catalogue, encoding
from wsrunner.client.connection import Connection, token_headers
from wsrunner.client.course import Course, QueuedListener, StartedListener
from wsrunner.client.errors import CLOSE_TOO_BIG, ConnectionLostError, RunRefusedError
from wsrunner.client.flow import StreamName
from wsrunner.client.run import Run
from wsrunner.errors import BadMessageError
from wsrunner.protocol import Exit

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Collected:
    """A finished run with all it printed; see `Client.collect`."""

    stdout: bytes
    stderr: bytes
    exit: Exit


class Client:
    """A connection to a wsrunner server, for any number of runs at once.

    ``async with Client(url) as client`` connects and closes; closing cancels the runs left.

    Args:
        url: ``ws://``, ``wss://``, ``http://`` or ``https://`` URL of the server, or just
            ``host:port``; a path is a prefix under which the server is mounted.
        token: Access token; sent as the ``X-Access-Token`` header, to this server only.
        on_message: Called with every server message as it came; must not block or raise.
        open_timeout_s: Longest time in seconds to connect.

    Raises:
        ValueError: The URL is none, or the token can't be a header.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        on_message: Callable[[str | bytes], None] | None = None,
        open_timeout_s: float = 10.0,
    ) -> None:
        self._endpoint = address.endpoint(url)
        self._headers = token_headers(token)
        self._on_message = on_message
        self._open_timeout_s = open_timeout_s
        self._connection: Connection | None = None
        self._courses: dict[str, Course] = {}
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost: ConnectionLostError | None = None

    def __repr__(self) -> str:
        state = "lost" if self._lost else "open" if self._connection else "not open"
        return f"<Client {self.url} {state}, {len(self._courses)} runs>"

    @property
    def url(self) -> str:
        """The server's URL without ``/v1/run`` and credentials, fit to be shown."""
        return address.shown(self._endpoint)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectError: Nothing answers there, or not with a WebSocket; the message says why.
        """
        connection = await Connection.open(
            self._endpoint, self.url, self._headers, self._open_timeout_s
        )
        self._connection = connection
        self._lost = None
        self._spawn(self._read(connection))
        self._spawn(self._keep_alive(connection))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, which cancels the runs that still go."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self._lose(ConnectionLostError("this client was closed before the run ended"))
        await connection.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(
        self,
        language: str,
        *,
        code: str | None = None,
        files: Mapping[str, str | bytes] | None = None,
        stdin: str | bytes | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        command: str | None = None,
        limits: Mapping[str, float] | None = None,
        tty: tuple[int, int] | bool = False,
        merge: bool = False,
        on_queued: QueuedListener | None = None,
        on_started: StartedListener | None = None,
    ) -> Run:
        """Start a run, and return once the server accepted it.

        Args:
            language: A catalogue id or alias.
            code: The content of the main file. Give exactly one of this and `files`.
            files: Name → content, the main file first. Bytes may be any, names use ``/``.
            stdin: All of the program's stdin; None leaves it open for `Run.stdin` and `Run.eof`.
            args: Appended to the run command, each one argument.
            env: Environment variables.
            command: Shell line in place of the language's run command.
            limits: Any of ``wall_s``, ``cpu_s``, ``memory_mb``, ``output_kb``, ``pids``; may only
                lower what the server allows.
            tty: Give the program a terminal of (columns, rows); True for 80 by 24.
            merge: Get stderr as stdout, in the order in which the program wrote to both.
            on_queued: Called when the run must wait and whenever its position changes.
            on_started: Called when a stage starts. Neither may block or raise.

        Raises:
            RunRefusedError: The server doesn't take it: `code`, `message`, `path`, `retry_after_s`.
            ConnectionLostError: The connection is gone.
            ValueError: Not exactly one of `code` and `files`, or an unknown limit.

        Cancelling is safe: the run is cancelled, queued or running.
        """
        raw = stdin.encode() if isinstance(stdin, str) else stdin
        inline = encoding.inline_stdin(raw)
        course = Course(f"r{self._count + 1}", on_queued, on_started)
        request = encoding.run_request(
            course.id,
            language,
            code=code,
            files=files,
            stdin=inline,
            args=args,
            env=env,
            command=command,
            limits=limits,
            tty=tty,
            merge=merge,
        )
        connection = self._check_open()
        message = protocol.encode_request(request)
        self._count += 1
        self._courses[course.id] = course
        await self._accepted(connection, course, message)
        run = Run(self._send, course)
        if raw is not None and inline is None:
            self._spawn(_feed(run, raw))
        return run

    async def collect(
        self,
        language: str,
        *,
        code: str | None = None,
        files: Mapping[str, str | bytes] | None = None,
        stdin: str | bytes = b"",
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        command: str | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> Collected:
        """Run to the end and return all output with the exit.

        The arguments and errors are those of `run`; `stdin` is empty by default. Takes as much
        memory as twice the run's ``output_kb``.

        Cancelling is safe: the run is cancelled.
        """
        run = await self.run(
            language,
            code=code,
            files=files,
            stdin=stdin,
            args=args,
            env=env,
            command=command,
            limits=limits,
        )
        pieces: dict[StreamName, list[bytes]] = {"stdout": [], "stderr": []}
        try:
            async for output in run:
                pieces[output.stream].append(output.data)
            ended = await run.exit()
        except BaseException:
            self._abandon(run.id)
            raise
        return Collected(b"".join(pieces["stdout"]), b"".join(pieces["stderr"]), ended)

    async def languages(self) -> list[dict[str, Any]]:
        """Return the server's catalogue, ``GET /v1/languages``; needs no open connection.

        Each entry has ``id``, ``name``, ``aliases``, ``file`` and more: see docs/protocol.md.

        Raises:
            ConnectError: The server does not answer, or not with a catalogue.

        Cancelling is safe; the request ends on its own in the background.
        """
        return await asyncio.to_thread(
            catalogue.get, self._endpoint, self._headers, self._open_timeout_s
        )

    async def _accepted(self, connection: Connection, course: Course, message: str) -> None:
        """Send a request to run and wait until the server accepted it; errors as `run` has them."""
        try:
            await connection.send(message)
            await course.answered.wait()
        except asyncio.CancelledError:
            self._abandon(course.id)
            raise
        except ConnectionLostError as exc:
            self._courses.pop(course.id, None)
            course.end(exc)
        failure = course.failure
        if isinstance(failure, ConnectionLostError) and failure.close_code == CLOSE_TOO_BIG:
            size_kib = len(message.encode()) / 1024
            raise RunRefusedError(
                f"the request has {size_kib:.0f} KiB, which is more than the server takes",
                code="too_large",
            ) from failure
        if failure is not None:
            raise failure

    def _abandon(self, run_id: str) -> None:
        """Cancel a run without waiting, for when the caller itself is being cancelled."""
        course = self._courses.get(run_id)
        if course is not None:
            course.outputs.discard()
            self._spawn(self._cancel(run_id))

    async def _cancel(self, run_id: str) -> None:
        # What can't be sent is not needed any more.
        with suppress(ConnectionLostError):
            await self._send(protocol.Cancel(id=run_id))

    async def _send(self, message: protocol.ClientMessage) -> None:
        await self._check_open().send(protocol.encode_request(message))

    def _check_open(self) -> Connection:
        if self._lost is not None:
            raise self._lost
        if self._connection is None:
            raise RuntimeError("the client is not open: use `async with Client(…) as client`")
        return self._connection

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, connection: Connection) -> None:
        """Hand every message to its run until the connection ends."""
        try:
            while True:
                raw = await connection.receive()
                if self._on_message is not None:
                    self._on_message(raw)
                event = protocol.decode_server(raw)
                if event is None:
                    continue
                full = self._dispatch(event)
                if full is not None:
                    # The socket is not read meanwhile, so the server and then the program wait.
                    await connection.hold(full.outputs.room())
        except ConnectionLostError as exc:
            self._lose(exc)
        except BadMessageError as exc:
            self._give_up(
                connection, f"the server does not speak {protocol.SUBPROTOCOL}: {exc}", exc
            )
        except Exception as exc:  # noqa: BLE001 - a listener's: without this its runs would hang
            self._give_up(connection, f"a listener of this client failed: {exc!r}", exc)

    def _dispatch(self, event: protocol.ServerMessage) -> Course | None:
        """Give an event to its run; return the run's course if its buffer is full now."""
        if isinstance(event, protocol.Error):
            self._refused(event)
            return None
        course = None if event.id is UNSET else self._courses.get(event.id)
        if course is None:
            return None  # an abandoned run's last words
        if isinstance(event, Exit):
            del self._courses[course.id]
        return course if course.take(event) else None

    def _refused(self, event: protocol.Error) -> None:
        pending = [each for each in self._courses.values() if not each.answered.is_set()]
        course = self._courses.get(event.id) if event.id is not UNSET else None
        if event.id is UNSET and pending:
            # The server could not make out whose message it was. Only a request to run is big and
            # free enough for that, and they are looked at in the order they were sent.
            course = pending[0]
        if course is None:
            return
        error = RunRefusedError(
            event.message,
            code=event.code,
            path=None if event.path is UNSET else event.path,
            retry_after_s=None if event.retry_after_s is UNSET else event.retry_after_s,
        )
        if course in pending:
            del self._courses[course.id]
            course.end(error)
        elif event.code != "no_such_run":  # a request that crossed with the exit harms nobody
            course.refuse(error)

    def _lose(self, lost: ConnectionLostError) -> None:
        self._lost = self._lost or lost
        courses, self._courses = self._courses, {}
        for course in courses.values():
            course.end(lost)

    def _give_up(self, connection: Connection, why: str, cause: Exception) -> None:
        lost = ConnectionLostError(why)
        lost.__cause__ = cause
        self._lose(lost)
        connection.cut()

    async def _keep_alive(self, connection: Connection) -> None:
        try:
            await connection.keep_alive()
        except ConnectionLostError as exc:
            self._lose(exc)
            connection.cut()


async def _feed(run: Run, data: bytes) -> None:
    """Send `data` and end of file."""
    # A lost connection is told to whoever reads the run, not here.
    with suppress(ConnectionLostError):
        await run.stdin(data)
        await run.eof()
