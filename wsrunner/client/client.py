"""The client: one connection, and any number of runs on it.

Owns the client's end of the JSON protocol: run ids, and which error means which run. The words on
the wire are `protocol`'s. Nothing in this package imports the server's modules, click or a
terminal: ``wsrunner run`` is built on it.

::

    Client ── Link ── reads, keeps alive, comes back: see `link`
           └─ a task for each stdin too big for the request, for each kept run that is gone on
              with, and for each cancel nobody waits for
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from msgspec import UNSET

from wsrunner import address, protocol
from wsrunner.address import DEFAULT_URL
from wsrunner.client import catalogue, encoding
from wsrunner.client.connection import Connection, token_headers
from wsrunner.client.course import (
    Course,
    GapListener,
    QueuedListener,
    StartedListener,
    WaitingListener,
)
from wsrunner.client.errors import CLOSE_TOO_BIG, ConnectionLostError, RunRefusedError
from wsrunner.client.files import LeftOut, RunFile
from wsrunner.client.flow import StreamName
from wsrunner.client.keeping import Keeping, new_once
from wsrunner.client.link import Link
from wsrunner.client.run import Run
from wsrunner.protocol import Exit

if TYPE_CHECKING:
    from types import TracebackType


LEFT_CODES = frozenset({"gate_unavailable", "kept_full", "internal"})
"""Errors that end an attachment to a run that goes on, or keep it from coming about again."""
ATTACH_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Collected:
    """A finished run with all it printed; see `Client.collect`."""

    stdout: bytes
    stderr: bytes
    exit: Exit
    files: Sequence[RunFile] = ()
    left_out: Sequence[LeftOut] = ()
    workspace: str | None = None


class Client:
    """A connection to a wsrunner server, for any number of runs at once.

    ``async with Client(url) as client`` connects and closes; closing cancels the runs left, but
    those that are kept. While one of these goes on, a lost connection is made again.

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
        self._link = Link(self, self._connect)
        self._courses: dict[str, Course] = {}
        self._count = 0

    def __repr__(self) -> str:
        link = self._link
        state = "lost" if link.lost else "open" if link.is_open else "not open"
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
        await self._link.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, which cancels the runs that still go and are not kept."""
        await self._link.close()

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
        keep_s: float | None = None,
        outputs: Sequence[str] = (),
        workspace: str | None = None,
        on_queued: QueuedListener | None = None,
        on_started: StartedListener | None = None,
        on_gap: GapListener | None = None,
        on_waiting: WaitingListener | None = None,
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
            keep_s: Let it survive a lost connection: so long it goes on, and the client comes back
                to it by itself. It can be attached to as well, see `Run.keys`. Leaving the client
                does not end it at once: `Run.cancel` does.
            outputs: Patterns of the files that are to come back, such as ``*.png`` and ``out/``:
                they are in `Run.files` in the end.
            workspace: Name of a container that is kept for the next run of that name: files stay,
                processes do not. `Run.workspace` says whether there was one.
            on_queued: Called when the run must wait and whenever its position changes.
            on_started: Called when a stage starts.
            on_gap: Called with the bytes of output that were lost while the client was away for
                too long.
            on_waiting: Called when the program waits for input, once each time; None does not ask
                the server to look. None of these may block or raise.

        Raises:
            RunRefusedError: The server doesn't take it: `code`, `message`, `path`, `retry_after_s`.
            ConnectionLostError: The connection is gone.
            ValueError: Not exactly one of `code` and `files`, or an unknown limit.

        Cancelling is safe: the run is cancelled, queued or running.
        """
        raw = stdin.encode() if isinstance(stdin, str) else stdin
        inline = encoding.inline_stdin(raw)
        run_id = f"r{self._count + 1}"
        request = encoding.run_request(
            run_id,
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
            keep_s=keep_s,
            once=None if keep_s is None else new_once(),
            outputs=outputs,
            waiting=on_waiting is not None,
            workspace=workspace,
        )
        keeping = None if keep_s is None else Keeping(request, keep_s)
        course = Course(
            run_id, on_queued, on_started, keeping=keeping, on_gap=on_gap, on_waiting=on_waiting
        )
        run = await self._begin(course, request)
        if raw is not None and inline is None:
            self._link.spawn(_feed(run, raw))
        return run

    async def attach(
        self,
        run: str,
        key: str,
        *,
        after: int = 0,
        on_queued: QueuedListener | None = None,
        on_started: StartedListener | None = None,
        on_gap: GapListener | None = None,
        on_waiting: WaitingListener | None = None,
    ) -> Run:
        """Attach to a kept run, to drive it or to watch it, and return once that is granted.

        Args:
            run: The server's name for it.
            key: One of its keys, see `Run.keys`: which one says what this client may do.
            after: Number of the last event that the caller has; 0 to hear all that is there.
            on_queued: As for `run`, and so are
            on_started: this one and
            on_gap: this, and
            on_waiting: this, if the run was begun so that it is told.

        Raises:
            RunRefusedError: There is no such run (any more), or the key does not open it.
            ConnectionLostError: The connection is gone.

        Cancelling is safe: the run goes on.
        """
        keeping = Keeping.of(run, key, after)
        course = Course(
            f"r{self._count + 1}",
            on_queued,
            on_started,
            keeping=keeping,
            on_gap=on_gap,
            on_waiting=on_waiting,
        )
        return await self._begin(course, keeping.greeting(course.id))

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
        outputs: Sequence[str] = (),
        workspace: str | None = None,
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
            outputs=outputs,
            workspace=workspace,
        )
        pieces: dict[StreamName, list[bytes]] = {"stdout": [], "stderr": []}
        try:
            async for output in run:
                pieces[output.stream].append(output.data)
            ended = await run.exit()
        except BaseException:
            self._abandon(run.id)
            raise
        out, err = b"".join(pieces["stdout"]), b"".join(pieces["stderr"])
        return Collected(out, err, ended, run.files, run.left_out, run.workspace)

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

    async def workspaces(self) -> list[dict[str, Any]]:
        """Return one's workspaces, ``GET /v1/workspaces``; needs no open connection.

        Raises:
            ConnectError: The server does not answer, or not with a list.

        Cancelling is safe; the request ends on its own in the background.
        """
        return await asyncio.to_thread(
            catalogue.workspaces, self._endpoint, self._headers, self._open_timeout_s
        )

    async def forget(self, workspace: str) -> None:
        """End a workspace: now, or with the run that goes on in it; needs no open connection.

        Raises:
            RunRefusedError: There is none of that name, ``no_such_workspace``.
            ConnectError: The server does not answer.

        Cancelling is safe; the request ends on its own in the background.
        """
        await asyncio.to_thread(
            catalogue.forget, self._endpoint, self._headers, self._open_timeout_s, workspace
        )

    async def _begin(self, course: Course, request: protocol.ClientMessage) -> Run:
        """Send what begins a run here, and wait until the server answered it.

        Raises:
            RunRefusedError, ConnectionLostError: See `run`.
        """
        message = protocol.encode_request(request)
        await self._link.ready()
        self._count += 1
        self._courses[course.id] = course
        try:
            await self._try(message, course)
            await course.answered.wait()
        except asyncio.CancelledError:
            self._abandon(course.id)
            raise
        failure = course.failure
        if isinstance(failure, ConnectionLostError) and failure.close_code == CLOSE_TOO_BIG:
            size_kib = len(message.encode()) / 1024
            raise RunRefusedError(
                f"the request has {size_kib:.0f} KiB, which is more than the server takes",
                code="too_large",
            ) from failure
        if failure is not None:
            raise failure
        return Run(self._send, course)

    async def _try(self, message: str, course: Course) -> None:
        """Send a message about a run; a kept one hears it again when the client is back."""
        if course.keeping is not None and not self._link.is_open:
            return  # else it would hear it twice then
        try:
            await self._link.send(message)
        except ConnectionLostError as exc:
            if course.keeping is None:
                self._courses.pop(course.id, None)
                course.end(exc)

    def _abandon(self, run_id: str) -> None:
        """Cancel a run without waiting, for when the caller itself is being cancelled."""
        course = self._courses.get(run_id)
        if course is not None:
            course.outputs.discard()
            attached = course.keeping is not None and course.keeping.is_attached
            last = protocol.Detach(id=run_id) if attached else protocol.Cancel(id=run_id)
            self._link.spawn(self._send_last(last))

    async def _send_last(self, message: protocol.ClientMessage) -> None:
        # What can't be sent is not needed any more.
        with suppress(ConnectionLostError):
            await self._send(message)

    async def _send(self, message: protocol.ClientMessage) -> None:
        course = None if message.id is UNSET else self._courses.get(message.id)
        keeping = course.keeping if course else None
        if keeping is None or not isinstance(message, protocol.Stdin | protocol.Eof):
            await self._link.send(protocol.encode_request(message))
            return
        assert course is not None
        if isinstance(message, protocol.Eof):
            keeping.write(None)
        else:
            keeping.write(protocol.content_bytes(message.data, message.base64, "$"))
        await self._link.ready()
        await self._send_log(course)

    async def _send_log(self, course: Course) -> None:
        """Send the stdin of a kept run that is not on its way; after a loss, what may be lost."""
        assert course.keeping is not None
        while self._link.is_open and (message := course.keeping.unsent(course.id)):
            await self._try(protocol.encode_request(message), course)

    async def _connect(self) -> Connection:
        return await Connection.open(self._endpoint, self.url, self._headers, self._open_timeout_s)

    # What the link tells; see `link.Host`.

    def heard(self, raw: str | bytes) -> Awaitable[None] | None:
        """Hand a message to its run."""
        if self._on_message is not None:
            self._on_message(raw)
        event = protocol.decode_server(raw)
        full = None if event is None else self._dispatch(event)
        return None if full is None else full.outputs.room()

    def cut_off(self, lost: ConnectionLostError) -> float:
        """End the runs that ended with the connection; return how long the others are kept."""
        kept = {name: each for name, each in self._courses.items() if each.keeping is not None}
        ended = [each for name, each in self._courses.items() if name not in kept]
        self._courses = kept
        for course in ended:
            course.end(lost)
        return max((each.keeping.patience_s for each in kept.values() if each.keeping), default=0)

    def back(self) -> None:
        """Go on with the runs that were kept."""
        for course in self._courses.values():
            self._link.spawn(self._greet(course))

    def gone(self, lost: ConnectionLostError) -> None:
        """End all runs."""
        courses, self._courses = self._courses, {}
        for course in courses.values():
            course.end(lost)

    async def _greet(self, course: Course, after_s: float = 0.0) -> None:
        """Attach to a kept run, or ask for it again if it was not accepted yet."""
        assert course.keeping is not None
        greetings = course.keeping.greetings
        await asyncio.sleep(after_s)
        # On a new socket that has come meanwhile it has been done already.
        if course.id in self._courses and course.keeping.greetings == greetings:
            greeting = course.keeping.greeting(course.id)
            await self._try(protocol.encode_request(greeting), course)

    def _dispatch(self, event: protocol.ServerMessage) -> Course | None:
        """Give an event to its run; return the run's course if its buffer is full now."""
        if isinstance(event, protocol.Error):
            self._refused(event)
            return None
        course = None if event.id is UNSET else self._courses.get(event.id)
        if course is None:
            return None  # an abandoned run's last words
        if isinstance(event, Exit | protocol.Detached):
            del self._courses[course.id]
        full = course.take(event)
        if isinstance(event, protocol.Accepted | protocol.Attached):
            self._link.spawn(self._send_log(course))
        return course if full else None

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
        kept = course.keeping is not None
        if course in pending or (kept and event.path == "$.run"):
            del self._courses[course.id]
            course.end(error)
        elif kept and event.code in LEFT_CODES:
            self._link.spawn(self._greet(course, after_s=ATTACH_AGAIN_S))
        elif event.code != "no_such_run":  # a request that crossed with the exit harms nobody
            course.refuse(error)


async def _feed(run: Run, data: bytes) -> None:
    """Send `data` and end of file."""
    # A lost connection is told to whoever reads the run, not here.
    with suppress(ConnectionLostError):
        await run.stdin(data)
        await run.eof()
