"""The client: one connection, and any number of runs and rooms on it.

What goes on there is the `board`'s, the words on the wire are `protocol`'s. Nothing in this
package imports the server's modules, click or a terminal: ``wsrunner run`` is built on it.

::

    Client ── Board ── Link ── reads, keeps alive, comes back: see `link`
           └─ a task for each stdin too big for the request, for each kept run that is gone on
              with, and for each cancel nobody waits for
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from wsrunner import address
from wsrunner.address import DEFAULT_URL
from wsrunner.client import catalogue, encoding, rooms
from wsrunner.client.board import Board
from wsrunner.client.connection import Connection, token_headers
from wsrunner.client.course import (
    Course,
    GapListener,
    QueuedListener,
    StartedListener,
    WaitingListener,
)
from wsrunner.client.errors import ConnectionLostError
from wsrunner.client.files import LeftOut, RunFile
from wsrunner.client.flow import StreamName
from wsrunner.client.keeping import Keeping, new_once
from wsrunner.client.rooms import Room
from wsrunner.client.run import Run
from wsrunner.protocol import Exit

if TYPE_CHECKING:
    from types import TracebackType


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
        self._open_timeout_s = open_timeout_s
        self._board = Board(self._connect, on_message)

    def __repr__(self) -> str:
        link = self._board.link
        state = "lost" if link.lost else "open" if link.is_open else "not open"
        return f"<Client {self.url} {state}, {len(self._board.courses)} runs>"

    @property
    def url(self) -> str:
        """The server's URL without ``/v1/run`` and credentials, fit to be shown."""
        return address.shown(self._endpoint)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectError: Nothing answers there, or not with a WebSocket; the message says why.
        """
        await self._board.link.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, which cancels the runs that still go and are not kept."""
        await self._board.link.close()

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
        room: Room | str | None = None,
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
            room: A room that this client is in, or the server's id of it: all who are there see
                the run, and who works there may type into it. It is kept, `keep_s` or not.
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
        run_id = self._board.new_id()
        is_kept = keep_s is not None or room is not None
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
            once=new_once() if is_kept else None,
            outputs=outputs,
            waiting=on_waiting is not None,
            workspace=workspace,
            room=_id_of(room),
        )
        keeping = Keeping(request, keep_s or 0.0) if is_kept else None
        course = Course(
            run_id, on_queued, on_started, keeping=keeping, on_gap=on_gap, on_waiting=on_waiting
        )
        run = await self._board.begin(course, request)
        if raw is not None and inline is None:
            self._board.link.spawn(_feed(run, raw))
        return run

    async def attach(
        self,
        run: str,
        key: str | None = None,
        *,
        room: Room | str | None = None,
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
            room: In its place, the room that it belongs to and that this client is in: its role
                there says what it may do.
            after: Number of the last event that the caller has; 0 to hear all that is there.
            on_queued: As for `run`, and so are
            on_started: this one and
            on_gap: this, and
            on_waiting: this, if the run was begun so that it is told.

        Raises:
            RunRefusedError: There is no such run (any more), or the key does not open it.
            ConnectionLostError: The connection is gone.
            ValueError: Not exactly one of `key` and `room`.

        Cancelling is safe: the run goes on.
        """
        if (key is None) == (room is None):
            raise ValueError("give exactly one of key and room")
        keeping = Keeping.of(run, key or "", after, _id_of(room))
        course = Course(
            self._board.new_id(),
            on_queued,
            on_started,
            keeping=keeping,
            on_gap=on_gap,
            on_waiting=on_waiting,
        )
        return await self._board.begin(course, keeping.greeting(course.id))

    async def open_room(self, *, name: str = "", events: bool = True) -> Room:
        """Open a room, and return it with this client in it as its owner.

        Args:
            name: What the others call this person.
            events: Whether somebody will iterate over the room. If not, people and runs are kept
                up to date, and all else is thrown away.

        Raises:
            RunRefusedError: The server opens none: `rooms_full`, say.
            ConnectionLostError: The connection is gone; whether there is a room is not known.

        Cancelling is safe: the room is left, and ends in time.
        """
        return await self._board.enter(
            Room(self._board.send, rooms.opening(self._board.new_id(), name), events=events)
        )

    async def join_room(
        self, room: str, key: str, *, name: str = "", once: str | None = None, events: bool = True
    ) -> Room:
        """Come into a room, and return it.

        Args:
            room: The server's name for it.
            key: One of its keys, see `Room.keys`: which one says what this client may do.
            name: What the others call this person.
            once: A random name of 16 to 64 characters, to be the same person here later; None
                for one that lasts as long as this room object.
            events: As for `open_room`.

        Raises:
            RunRefusedError: There is no room that this key opens, or no place in it.
            ConnectionLostError: The connection is gone.

        Cancelling is safe: the room is left.
        """
        request = rooms.joining(self._board.new_id(), room, key, name, once)
        return await self._board.enter(Room(self._board.send, request, events=events))

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
            self._board.abandon(run.id)
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

    async def _connect(self) -> Connection:
        return await Connection.open(self._endpoint, self.url, self._headers, self._open_timeout_s)


def _id_of(room: Room | str | None) -> str | None:
    return room.room if isinstance(room, Room) else room


async def _feed(run: Run, data: bytes) -> None:
    """Send `data` and end of file."""
    # A lost connection is told to whoever reads the run, not here.
    with suppress(ConnectionLostError):
        await run.stdin(data)
        await run.eof()
