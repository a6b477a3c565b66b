"""The Python client: many runs over one socket.

Owns the client's end of the JSON protocol: run ids, flow control both ways, and which error means
what. The words on the wire are `protocol`'s. Must not import the server's modules, click or a
terminal: ``wsrunner run`` is built on this.

::

    Client ── reader task ── decodes and hands each message to its Run
           └─ keepalive task ── finds out when the server is gone
    Run ── (only for much or binary ``stdin=``) feeder task
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, get_args
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import UNSET
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
)
from websockets.typing import Subprotocol

from wsrunner import protocol
from wsrunner.address import DEFAULT_URL, endpoint
from wsrunner.errors import BadMessageError, WsrunnerError
from wsrunner.protocol import Exit

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "Client",
    "Collected",
    "ConnectError",
    "ConnectionLostError",
    "Exit",
    "Output",
    "Run",
    "RunRefusedError",
    "endpoint",
]

STDIN_MESSAGE_BYTES = 64 * 1024
STDIN_WINDOW_BYTES = 256 * 1024
"""Stdin sent beyond what the server said the program took; it refuses when 1 MiB waits there."""

OUTPUT_BUFFER_BYTES = 256 * 1024
OUTPUT_COST_BYTES = 128
"""What one buffered `Output` costs beside its data, so that tiny ones count too."""

PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.0
FEED_TIMEOUT_S = 30.0
"""The operators' feed says something each second, so this long a silence is a lost connection."""
MESSAGE_MAX_BYTES = 16 * 1024 * 1024
HTTP_BODY_MAX_BYTES = 4 * 1024 * 1024

CLOSE_GOING_AWAY = 1001
CLOSE_NOT_ALLOWED = 1008
CLOSE_TOO_BIG = 1009
CLOSE_INTERNAL = 1011
CLOSE_TRY_LATER = 1013

_LOST = {
    1000: "the server closed the connection",
    CLOSE_GOING_AWAY: "the server is going away (1001)",
    CLOSE_NOT_ALLOWED: "the server does not allow this (1008)",
    CLOSE_TOO_BIG: "a message was larger than the server takes (1009)",
    CLOSE_INTERNAL: "the server failed (1011)",
    CLOSE_TRY_LATER: "the server is too busy (1013): try again later",
    protocol.CLOSE_SLOW_CLIENT: "the server gave up: no output was taken for too long (4408)",
}

StreamName = Literal["stdout", "stderr"]
QueuedListener = Callable[[int, int], None]
"""Called with (position, waiting): 1 is next in line; `waiting` counts all that wait."""
StartedListener = Callable[[str], None]
"""Called with the stage that begins: ``build`` or ``run``."""


class RunRefusedError(WsrunnerError):
    """The server answered with ``error``.

    Attributes:
        code: The wire code, such as ``unknown_language`` or ``queue_full``.
        message: What is wrong, naming the value, the limit and the unit.
        path: The place in the request, such as ``$.files[0].name``; None if no one place.
        retry_after_s: Seconds after which it may succeed; None where waiting won't help.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        path: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, path=path, retry_after_s=retry_after_s)
        # Here it is each error's own and not the class's: it came over the wire, and a newer server
        # may know codes that this client does not.
        self.code = code  # type: ignore[misc]


class ConnectError(ConnectionError):
    """No WebSocket to the server came about.

    Attributes:
        status: The HTTP status of its answer, such as 401; None if nothing answered.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ConnectionLostError(ConnectionError):
    """The connection ended before the run did. The server cancels the run.

    Attributes:
        close_code: The server's close code (RFC 6455 section 7.4); None if it broke off.
    """

    def __init__(self, message: str, *, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class Output(NamedTuple):
    """A piece of what the program printed.

    Attributes:
        stream: ``stdout`` or ``stderr``. A terminal run has only ``stdout``.
        data: The bytes as printed. Whole lines where they come whole.
    """

    stream: StreamName
    data: bytes


@dataclass(frozen=True, slots=True)
class Collected:
    """A finished run with all it printed; see `Client.collect`."""

    stdout: bytes
    stderr: bytes
    exit: Exit


class Run:
    """One run on the server; `Client.run` makes it.

    ``async for output in run`` yields `Output` until the run ended. One task may iterate at a time.
    At most `OUTPUT_BUFFER_BYTES` are kept for a consumer that is slower than the program: beyond
    that the client stops reading its socket, so that the program has to wait. **All runs of one
    `Client` share that socket**: iterate each of them, or give a slow one a client of its own. The
    server drops a client that takes nothing for long (30 s by default).

    Attributes:
        id: This client's name for the run.
        position: Place in the queue, 1 is next; None when it doesn't wait (any more).
        waiting: How many wait, this one too; None likewise.
        stage: ``queue``, ``build`` or ``run``.
    """

    def __init__(
        self,
        client: Client,
        run_id: str,
        on_queued: QueuedListener | None,
        on_started: StartedListener | None,
    ) -> None:
        self.id = run_id
        self.position: int | None = None
        self.waiting: int | None = None
        self.stage: protocol.Stage = "queue"
        self._client = client
        self._on_queued = on_queued
        self._on_started = on_started
        self._outputs: deque[Output] = deque()
        self._buffered_bytes = 0
        self._discarding = False
        self._dropped = False
        self._consumer: asyncio.Task[Any] | None = None
        self._exit: Exit | None = None
        self._failure: Exception | None = None
        self._complaint: RunRefusedError | None = None
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._stdin_lock = asyncio.Lock()
        self._feeder: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._readable = asyncio.Event()
        self._space = asyncio.Event()
        self._writable = asyncio.Event()
        self._ended = asyncio.Event()

    def __repr__(self) -> str:
        state = self._exit.reason if self._exit else "lost" if self._failure else self.stage
        return f"<Run {self.id} {state}>"

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
        while not self._outputs:
            if self._dropped:
                raise RuntimeError(
                    "exit() discarded this run's output: iterate first, or collect()"
                )
            self._complain()
            if self._ended.is_set():
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            self._readable.clear()
            await self._readable.wait()
        output = self._outputs.popleft()
        self._buffered_bytes -= len(output.data) + OUTPUT_COST_BYTES
        if self._buffered_bytes <= OUTPUT_BUFFER_BYTES // 2:
            self._space.set()
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
            self._discard()
        await self._ended.wait()
        self._complain()
        if self._exit is None:
            assert self._failure is not None
            raise self._failure
        return self._exit

    async def stdin(self, data: str | bytes) -> None:
        """Send bytes for the program's stdin; after the run's end this does nothing.

        Returns when all of it is sent. More than `STDIN_WINDOW_BYTES` that the program did not read
        yet make it wait.

        Raises:
            ConnectionLostError: The connection is gone.

        Cancelling is safe, but an unknown part of `data` has been sent.
        """
        raw = data.encode() if isinstance(data, str) else data
        async with self._stdin_lock:
            for chunk in _chunks(raw, STDIN_MESSAGE_BYTES):
                while (
                    not self._ended.is_set()
                    and self._sent_bytes - self._taken_bytes + len(chunk) > STDIN_WINDOW_BYTES
                ):
                    self._writable.clear()
                    await self._writable.wait()
                if self._ended.is_set():
                    return
                # Counted before the await: the answer may come in before send returns.
                self._sent_bytes += len(chunk)
                await self._client._send(protocol.Stdin(id=self.id, **_payload(chunk)))  # noqa: SLF001

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

    async def _request(self, message: protocol.ClientMessage) -> None:
        # A run that ended takes nothing more; that it ended is no fault of the caller's.
        if not self._ended.is_set():
            await self._client._send(message)  # noqa: SLF001

    def _complain(self) -> None:
        """Raise once what the server refused while the run goes on."""
        if self._complaint is not None:
            complaint, self._complaint = self._complaint, None
            raise complaint

    def _discard(self) -> None:
        self._discarding = True
        self._dropped = self._dropped or bool(self._outputs)
        self._outputs.clear()
        self._buffered_bytes = 0
        self._space.set()

    def _abandon(self) -> None:
        """Cancel without waiting, for when the caller itself is being cancelled."""
        self._discard()
        if not self._ended.is_set():
            self._client._post(protocol.Cancel(id=self.id))  # noqa: SLF001

    def _queued(self, event: protocol.Queued) -> None:
        self.position, self.waiting = event.position, event.waiting
        self._answered.set()
        if self._on_queued is not None:
            self._on_queued(event.position, event.waiting)

    def _started(self, event: protocol.Started) -> None:
        self.position = self.waiting = None
        self.stage = event.stage
        self._answered.set()
        if self._on_started is not None:
            self._on_started(event.stage)

    def _printed(self, event: protocol.Stdout) -> bool:
        """Take a piece of output; tell whether the buffer is full now."""
        if self._discarding:
            self._dropped = True
            return False
        stream: StreamName = "stderr" if isinstance(event, protocol.Stderr) else "stdout"
        data = protocol.content_bytes(event.data, event.base64, "$")
        self._outputs.append(Output(stream, data))
        self._buffered_bytes += len(data) + OUTPUT_COST_BYTES
        self._readable.set()
        return self._buffered_bytes > OUTPUT_BUFFER_BYTES

    async def _room(self) -> None:
        """Wait until the consumer took half of a full buffer. Cancelling is safe."""
        self._space.clear()
        if self._buffered_bytes > OUTPUT_BUFFER_BYTES:
            await self._space.wait()

    def _drained(self, event: protocol.Drained) -> None:
        self._taken_bytes = max(self._taken_bytes, event.bytes)
        self._writable.set()

    def _end(self, outcome: Exit | Exception) -> None:
        if isinstance(outcome, Exit):
            self._exit = outcome
            self.stage = outcome.stage
        else:
            self._failure = outcome
        self.position = self.waiting = None
        for event in (self._answered, self._readable, self._writable, self._space, self._ended):
            event.set()
        if self._feeder is not None:
            self._feeder.cancel()

    def _feed(self, data: bytes) -> None:
        """Send `data` and end of file in the background."""

        async def feed() -> None:
            # A lost connection is told to whoever reads the run, not here.
            with suppress(ConnectionLostError):
                await self.stdin(data)
                await self.eof()

        self._feeder = asyncio.create_task(feed())


class _Connect(connect):
    """`connect` that follows no redirect: the access token is for the named server alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


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
        self._endpoint = endpoint(url)
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ValueError("the access token must be printable ASCII, without line ends")
        self._headers = {"X-Access-Token": token} if token else {}
        self._on_message = on_message
        self._open_timeout_s = open_timeout_s
        self._socket: ClientConnection | None = None
        self._runs: dict[str, Run] = {}
        self._count = 0
        self._reader: asyncio.Task[None] | None = None
        self._keepalive: asyncio.Task[None] | None = None
        self._posts: set[asyncio.Task[None]] = set()
        self._stalls = 0
        self._stalled = False
        self._lost: ConnectionLostError | None = None

    def __repr__(self) -> str:
        state = "lost" if self._lost else "open" if self._socket else "not open"
        return f"<Client {self.url} {state}, {len(self._runs)} runs>"

    @property
    def url(self) -> str:
        """The server's URL without ``/v1/run`` and credentials, fit to be shown."""
        parts = urlsplit(self._endpoint)
        host = parts.netloc.rpartition("@")[2]
        path = parts.path.removesuffix("/v1/run")
        return f"{parts.scheme}://{host}{path}"

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectError: Nothing answers there, or not with a WebSocket; the message says why.
        """
        self._socket = await _open(self._endpoint, self.url, self._headers, self._open_timeout_s)
        self._lost = None
        self._reader = asyncio.create_task(self._read(self._socket))
        self._keepalive = asyncio.create_task(self._watch(self._socket))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, which cancels the runs that still go."""
        socket, self._socket = self._socket, None
        if socket is None:
            return
        assert self._reader is not None
        assert self._keepalive is not None
        tasks = [self._reader, self._keepalive, *self._posts]
        for task in tasks:
            task.cancel()
        self._lose(ConnectionLostError("this client was closed before the run ended"))
        try:
            # close() waits for a drain first, which a server that reads nothing never grants.
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await socket.close()
        except (TimeoutError, AttributeError):  # the latter as in `_cut`
            pass
        finally:
            _cut(socket)
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
            on_queued: Called when the run must wait and whenever its position changes.
            on_started: Called when a stage starts. Neither may block or raise.

        Raises:
            RunRefusedError: The server doesn't take it: `code`, `message`, `path`, `retry_after_s`.
            ConnectionLostError: The connection is gone.
            ValueError: Not exactly one of `code` and `files`, or an unknown limit.

        Cancelling is safe: the run is cancelled, queued or running.
        """
        if (code is None) == (files is None):
            raise ValueError("give exactly one of code and files")
        self._check_open()
        raw = stdin.encode() if isinstance(stdin, str) else stdin
        inline = None if raw is None or len(raw) > STDIN_MESSAGE_BYTES else _text(raw)
        if isinstance(tty, bool):
            size = protocol.Tty() if tty else UNSET
        else:
            size = protocol.Tty(columns=tty[0], rows=tty[1])
        self._count += 1
        request = protocol.RunRequest(
            id=f"r{self._count}",
            language=language,
            code=UNSET if code is None else code,
            files=UNSET if files is None else [_file(*item) for item in files.items()],
            stdin=UNSET if inline is None else inline,
            args=list(args),
            env=dict(env or {}),
            command=UNSET if command is None else command,
            limits=_limits(limits or {}),
            tty=size,
        )
        run = Run(self, f"r{self._count}", on_queued, on_started)
        message = protocol.encode_request(request)
        self._runs[run.id] = run
        try:
            await self._send_text(message)
            await run._answered.wait()  # noqa: SLF001
        except asyncio.CancelledError:
            run._abandon()  # noqa: SLF001
            raise
        except ConnectionLostError as exc:
            self._runs.pop(run.id, None)
            run._end(exc)  # noqa: SLF001
        failure = run._failure  # noqa: SLF001
        if isinstance(failure, ConnectionLostError) and failure.close_code == CLOSE_TOO_BIG:
            size_kib = len(message.encode()) / 1024
            raise RunRefusedError(
                f"the request has {size_kib:.0f} KiB, which is more than the server takes",
                code="too_large",
            ) from failure
        if failure is not None:
            raise failure
        if raw is not None and inline is None:
            run._feed(raw)  # noqa: SLF001
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
            run._abandon()  # noqa: SLF001
            raise
        return Collected(b"".join(pieces["stdout"]), b"".join(pieces["stderr"]), ended)

    async def languages(self) -> list[dict[str, Any]]:
        """Return the server's catalogue, ``GET /v1/languages``; needs no open connection.

        Each entry has ``id``, ``name``, ``aliases``, ``file`` and more: see docs/protocol.md.

        Raises:
            ConnectError: The server does not answer, or not with a catalogue.

        Cancelling is safe; the request ends on its own in the background.
        """
        return await asyncio.to_thread(self._get_languages)

    def _get_languages(self) -> list[dict[str, Any]]:
        # websockets has imported it already (for proxies), so it costs nothing more.
        from urllib import error, request

        class NoRedirect(request.HTTPRedirectHandler):
            def redirect_request(self, *_: object) -> None:
                """Follow none: the access token is for the named server alone."""

        parts = urlsplit(self._endpoint)
        url = urlunsplit(
            (
                "https" if parts.scheme == "wss" else "http",
                parts.netloc.rpartition("@")[2],
                parts.path.removesuffix("run") + "languages",
                "",
                "",
            )
        )
        handlers: list[request.BaseHandler] = [NoRedirect()]
        if _is_loopback(self._endpoint):
            handlers.append(request.ProxyHandler({}))
        headers = dict(self._headers)
        if "@" in parts.netloc:
            userinfo = parts.netloc.rpartition("@")[0].encode()
            headers["Authorization"] = "Basic " + base64.b64encode(userinfo).decode("ascii")
        try:
            asked = request.Request(url, headers=headers)  # noqa: S310 - http and https only
            with request.build_opener(*handlers).open(asked, timeout=self._open_timeout_s) as got:
                body = got.read(HTTP_BODY_MAX_BYTES)
            found = json.loads(body)
            if not isinstance(found, list):
                found = found["languages"]
            return [entry for entry in found if isinstance(entry, dict)]
        except error.HTTPError as exc:
            with exc:
                location = exc.headers.get("Location")
                raise _refusal(self.url, exc.code, exc.read(4096), location) from exc
        except (ValueError, LookupError, TypeError) as exc:
            raise ConnectError(f"{self.url} gave no list of languages: {exc}") from exc
        except OSError as exc:
            raise ConnectError(f"no server at {self.url} ({_why(exc)})") from exc

    async def _send(self, message: protocol.ClientMessage) -> None:
        await self._send_text(protocol.encode_request(message))

    async def _send_text(self, text: str) -> None:
        socket = self._check_open()
        try:
            await socket.send(text)
        except ConnectionClosed as exc:
            raise _loss(exc) from exc

    def _check_open(self) -> ClientConnection:
        if self._lost is not None:
            raise self._lost
        if self._socket is None:
            raise RuntimeError("the client is not open: use `async with Client(…) as client`")
        return self._socket

    def _post(self, message: protocol.ClientMessage) -> None:
        """Send without waiting; what can't be sent is not needed any more."""

        async def post() -> None:
            with suppress(ConnectionLostError, RuntimeError):
                await self._send(message)

        task = asyncio.create_task(post())
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    async def _read(self, socket: ClientConnection) -> None:
        """Hand every message to its run until the connection ends."""
        try:
            while True:
                raw = await socket.recv()
                if self._on_message is not None:
                    self._on_message(raw)
                event = protocol.decode_server(raw)
                if event is None:
                    continue
                full = self._dispatch(event)
                if full is not None:
                    # The socket is not read meanwhile, so the server and then the program wait.
                    self._stalled = True
                    self._stalls += 1
                    await full._room()  # noqa: SLF001
                    self._stalled = False
        except ConnectionClosed as exc:
            self._lose(_loss(exc))
        except BadMessageError as exc:
            lost = ConnectionLostError(f"the server does not speak {protocol.SUBPROTOCOL}: {exc}")
            lost.__cause__ = exc
            self._lose(lost)
            _cut(socket)
        except Exception as exc:  # noqa: BLE001 - a listener's: without this its runs would hang
            lost = ConnectionLostError(f"a listener of this client failed: {exc!r}")
            lost.__cause__ = exc
            self._lose(lost)
            _cut(socket)

    def _dispatch(self, event: protocol.ServerMessage) -> Run | None:
        """Give an event to its run; return the run if its buffer is full now."""
        if isinstance(event, protocol.Error):
            self._refused(event)
            return None
        run = None if event.id is UNSET else self._runs.get(event.id)
        if run is None:
            return None  # an abandoned run's last words
        match event:
            case protocol.Stdout():  # and Stderr, its subclass
                return run if run._printed(event) else None  # noqa: SLF001
            case protocol.Queued():
                run._queued(event)  # noqa: SLF001
            case protocol.Started():
                run._started(event)  # noqa: SLF001
            case protocol.Drained():
                run._drained(event)  # noqa: SLF001
            case Exit():
                del self._runs[run.id]
                run._end(event)  # noqa: SLF001
        return None

    def _refused(self, event: protocol.Error) -> None:
        pending = [run for run in self._runs.values() if not run._answered.is_set()]  # noqa: SLF001
        run = self._runs.get(event.id) if event.id is not UNSET else None
        if event.id is UNSET and pending:
            # The server could not make out whose message it was. Only a request to run is big and
            # free enough for that, and they are looked at in the order they were sent.
            run = pending[0]
        if run is None:
            return
        error = RunRefusedError(
            event.message,
            code=event.code,
            path=None if event.path is UNSET else event.path,
            retry_after_s=None if event.retry_after_s is UNSET else event.retry_after_s,
        )
        if run in pending:
            del self._runs[run.id]
            run._end(error)  # noqa: SLF001
        elif event.code != "no_such_run":  # a request that crossed with the exit harms nobody
            run._complaint = error  # noqa: SLF001
            run._readable.set()  # noqa: SLF001

    def _lose(self, lost: ConnectionLostError) -> None:
        self._lost = self._lost or lost
        runs, self._runs = self._runs, {}
        for run in runs.values():
            run._end(lost)  # noqa: SLF001

    async def _watch(self, socket: ClientConnection) -> None:
        """Ping, and break the connection off if no pong comes.

        A pong waits behind the output before it. While a slow consumer holds that up, its absence
        says nothing about the server; the keepalive of websockets would hang up nevertheless.
        """
        try:
            while True:
                await asyncio.sleep(PING_INTERVAL_S)
                stalls = self._stalls
                try:
                    async with asyncio.timeout(PING_TIMEOUT_S):
                        await (await socket.ping())
                except TimeoutError:
                    if self._stalled or self._stalls != stalls:
                        continue
                    self._lose(
                        ConnectionLostError(
                            f"the server did not answer a ping in {PING_TIMEOUT_S:g} s"
                        )
                    )
                    _cut(socket)
                    return
        except ConnectionClosed:
            return


async def watch(
    url: str = DEFAULT_URL, token: str | None = None
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the messages of the operators' feed, ``WS /v1/monitor``, until the connection ends.

    Args:
        url: As for `Client`.
        token: The operator token where the server has one, else as for `Client`.

    Raises:
        ValueError: The URL is none.
        ConnectError: Nothing answers there, or not with a WebSocket.
        ConnectionLostError: The connection ended.
    """
    client = Client(url, token)
    address = f"{endpoint(url).removesuffix('/v1/run')}/v1/monitor"
    socket = await _open(address, client.url, {"X-Access-Token": token} if token else {}, 10.0)
    try:
        while True:
            try:
                async with asyncio.timeout(FEED_TIMEOUT_S):
                    message = await socket.recv()
            except TimeoutError as exc:
                raise ConnectionLostError(
                    f"the server said nothing for {FEED_TIMEOUT_S:g} s"
                ) from exc
            yield json.loads(message)
    except ConnectionClosed as exc:
        raise _loss(exc) from exc
    finally:
        _cut(socket)


def _cut(socket: ClientConnection) -> None:
    """Cut a connection, whatever waits to be sent on it."""
    # One that was closed with data to send, and has just got rid of it, has no loop any more
    # (CPython 3.11, selector transports).
    with suppress(AttributeError):
        socket.transport.abort()


async def _open(
    address: str, shown: str, headers: Mapping[str, str], open_timeout_s: float
) -> ClientConnection:
    """Open a WebSocket.

    Args:
        address: Its URL.
        shown: The server's URL as it may be shown.
        headers: Headers of the handshake.
        open_timeout_s: Longest time, in seconds.

    Raises:
        ConnectError: Nothing answers there, or not with a WebSocket; the message says why.
    """
    try:
        return await _Connect(
            address,
            subprotocols=[Subprotocol(protocol.SUBPROTOCOL)],
            compression=None,
            additional_headers=headers,
            # A local server is never behind the proxy that the environment names.
            proxy=None if _is_loopback(address) else True,
            open_timeout=open_timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MESSAGE_MAX_BYTES,
            # `_watch` does the keepalive: it knows when this side is what holds up the pong.
            ping_interval=None,
        )
    except InvalidStatus as exc:
        status = exc.response.status_code
        location = exc.response.headers.get("Location")
        raise _refusal(shown, status, exc.response.body, location) from exc
    except TimeoutError as exc:
        raise ConnectError(f"no answer from {shown} in {open_timeout_s:g} s") from exc
    except (InvalidHandshake, InvalidURI) as exc:
        raise ConnectError(f"{shown} is not a wsrunner server: {exc}") from exc
    except OSError as exc:
        raise ConnectError(f"no server at {shown} ({_why(exc)})") from exc


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _why(exc: OSError) -> str:
    """Say an OS error without its number and without the addresses asyncio puts into it."""
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused"
    reason = getattr(exc, "reason", None)  # urllib's URLError wraps the real one
    if isinstance(reason, OSError):
        return _why(reason)
    return (exc.strerror or str(exc) or type(exc).__name__).strip()


def _refusal(
    url: str, status: int, body: bytes | bytearray | None, location: str | None
) -> ConnectError:
    """Turn an HTTP answer that is no upgrade into an error that says what to do."""
    said = ""
    with suppress(ValueError, AttributeError):
        said = str(json.loads(body or b"").get("message", ""))
    match status:
        case 401:
            text = f"{url} needs an access token, or a different one (401)"
        case 403:
            text = f"{url} does not allow this client (403)"
        case 404 | 405 | 426:
            text = f"{url} has no wsrunner at this path ({status})"
        case _ if location and 300 <= status < 400:  # noqa: PLR2004 - the redirects of HTTP
            where = urlsplit(location)
            text = f"{url} redirects to {where.scheme}://{where.netloc} ({status}): name that one"
        case _:
            text = f"{url} answered with HTTP status {status}"
    return ConnectError(f"{text}: {said[:300]}" if said else text, status=status)


def _loss(exc: ConnectionClosed) -> ConnectionLostError:
    if exc.rcvd is None:
        return ConnectionLostError("the connection to the server broke off")
    code = exc.rcvd.code
    text = _LOST.get(code, f"the server closed the connection ({code})")
    if exc.rcvd.reason:
        text = f"{text}: {exc.rcvd.reason}"
    return ConnectionLostError(text, close_code=code)


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _payload(raw: bytes) -> dict[str, str]:
    text = _text(raw)
    return {"base64": base64.b64encode(raw).decode("ascii")} if text is None else {"data": text}


def _file(name: str, content: str | bytes) -> protocol.File:
    text = content if isinstance(content, str) else _text(content)
    if text is not None:
        return protocol.File(name=name, content=text)
    assert isinstance(content, bytes)
    return protocol.File(name=name, base64=base64.b64encode(content).decode("ascii"))


def _limits(limits: Mapping[str, float]) -> protocol.Limits:
    try:
        return msgspec.convert(dict(limits), protocol.Limits)
    except msgspec.ValidationError as exc:
        raise ValueError(f"limits: {exc}") from exc


def _chunks(raw: bytes, size_bytes: int) -> Iterator[bytes]:
    """Cut into pieces, not inside a UTF-8 character, or text would have to travel as base64."""
    start = 0
    while start < len(raw):
        end = min(start + size_bytes, len(raw))
        if end < len(raw):
            for back in range(4):  # RFC 3629: a character has at most 4 bytes
                if raw[end - back] & 0xC0 != 0x80:  # noqa: PLR2004 - 10xxxxxx continues one
                    end -= back
                    break
        yield raw[start:end]
        start = end
