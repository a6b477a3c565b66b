"""One socket's conversation: JSON protocol or plain protocol.

Owns what happens between a socket's opening and its end. The course of a run is `run`'s.

The tasks of a socket:

    converse        reads and decodes messages; passes stdin, signals and cancel on without waiting
    └─ one a run    checks the request, then Run.execute, which sends through `Outlet.send`

A client that takes no output for `slow_client_s` is dropped with 4408: `send` waits for it no
longer, and leaving `converse` ends its runs.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import Iterator

from msgspec import UNSET, UnsetType
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from wsrunner import protocol
from wsrunner.errors import (
    BusyError,
    IdBusyError,
    NoSuchRunError,
    TooLargeError,
    WsrunnerError,
)
from wsrunner.protocol import (
    Cancel,
    Eof,
    Exit,
    Resize,
    RunRequest,
    SendSignal,
    ServerMessage,
    Stdin,
    Stdout,
)
from wsrunner.runs.order import KIB
from wsrunner.runs.run import Run, Runner, SinkClosedError
from wsrunner.serving.outlet import Outlet
from wsrunner.serving.rate import RateLimiter

log = logging.getLogger(__name__)

RUNS_PER_SOCKET_MAX = 100


class JsonSession:
    """The JSON protocol: many runs over one socket.

    Args:
        connection: An accepted WebSocket.
        runner: What runs run with.
        rate: How many runs this client may start.
        client: The client's address, the key for `rate`.
    """

    def __init__(
        self, connection: ServerConnection, runner: Runner, rate: RateLimiter, client: str
    ) -> None:
        self._connection = connection
        self._socket = Outlet(connection, runner.settings.slow_client_s)
        self._runner = runner
        self._rate = rate
        self._client = client
        self._runs: dict[str | UnsetType, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def converse(self) -> None:
        """Serve the socket until it closes, then end what still runs on it."""
        max_bytes = self._runner.settings.message_kb * KIB
        try:
            async for message in self._connection:
                try:
                    self._handle(protocol.decode(message, max_bytes=max_bytes))
                except WsrunnerError as exc:
                    await self.send(protocol.error_event(exc, protocol.salvage_id(message)))
        except (ConnectionClosed, SinkClosedError):
            pass
        finally:
            await _cancelled(list(self._tasks))

    async def send(self, event: ServerMessage) -> None:
        """Deliver one event; see `run.Sink`."""
        if isinstance(event, Exit):
            # Its container is still being removed, but the client may use the id again at once.
            self._runs.pop(event.id, None)
        await self._socket.send(protocol.encode(event), text=True)

    def _handle(self, message: protocol.ClientMessage) -> None:
        """Act on one message at once; only a new run needs a task.

        Raises:
            WsrunnerError: It can't be done; the message says why.
        """
        if isinstance(message, RunRequest):
            self._start(message)
            return
        run = self._find(message.id)
        match message:
            case Stdin(data=data, base64=encoded):
                run.stdin(protocol.content_bytes(data, encoded, "$"))
            case Eof():
                run.eof()
            case SendSignal(signal=name):
                run.signal(name)
            case Resize(columns=columns, rows=rows):
                run.resize(columns, rows)
            case Cancel():
                run.end("cancelled")

    def _find(self, run_id: str | UnsetType) -> Run:
        if run_id not in self._runs:
            named = "no run without id" if run_id is UNSET else f"no run {run_id!r}"
            raise NoSuchRunError(f"{named} is live on this socket", path="$.id")
        return self._runs[run_id]

    def _start(self, request: RunRequest) -> None:
        with _refusals_counted(self._runner):
            self._check_room(request)
        run = Run(request, runner=self._runner, sink=self)
        self._runs[request.id] = run
        task = asyncio.create_task(self._execute(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check_room(self, request: RunRequest) -> None:
        """Refuse a run that this socket, or its address, has no room for.

        Raises:
            IdBusyError, RateLimitedError: See the messages.
        """
        if request.id in self._runs:
            named = "without id" if request.id is UNSET else repr(request.id)
            raise IdBusyError(f"the run {named} is still live on this socket", path="$.id")
        if len(self._runs) >= RUNS_PER_SOCKET_MAX:
            raise IdBusyError(
                f"{len(self._runs)} runs are live on this socket; the limit is "
                f"{RUNS_PER_SOCKET_MAX} runs"
            )
        self._rate.take(self._client)

    async def _execute(self, run: Run) -> None:
        try:
            await run.execute()
        except SinkClosedError:
            await self._socket.drop()
        except WsrunnerError as exc:
            await self._refuse(run, exc)
        except Exception:
            log.exception("run %s failed", run.run_id)
            await self._refuse(run, WsrunnerError(f"an error of the server ended run {run.run_id}"))
        finally:
            if self._runs.get(run.id) is run:
                del self._runs[run.id]

    async def _refuse(self, run: Run, error: WsrunnerError) -> None:
        self._runs.pop(run.id, None)
        with contextlib.suppress(SinkClosedError):
            await self.send(protocol.error_event(error, run.id))


class PlainSession:
    """The plain protocol: source in, raw output out, the outcome as close reason.

    Args:
        connection: An accepted WebSocket.
        runner: What the run runs with.
        rate: How many runs this client may start.
        client: The client's address, the key for `rate`.
        language: Id or alias of the language, already found in the catalogue.
    """

    def __init__(
        self,
        connection: ServerConnection,
        runner: Runner,
        rate: RateLimiter,
        client: str,
        language: str,
    ) -> None:
        self._connection = connection
        self._socket = Outlet(connection, runner.settings.slow_client_s)
        self._runner = runner
        self._rate = rate
        self._client = client
        self._language = language
        self._text = False
        self._closing: asyncio.Task[None] | None = None

    async def converse(self) -> None:
        """Take the source, run it, pass stdin on, close with the outcome."""
        try:
            source = await self._connection.recv()
        except ConnectionClosed:
            return
        max_bytes = self._runner.settings.message_kb * KIB
        content = source.encode() if isinstance(source, str) else source
        if len(content) > max_bytes:
            reason = f"the source has {len(content)} bytes; the limit is {max_bytes} bytes"
            self._runner.metrics.count_refused(TooLargeError.code)
            await self._socket.close(1009, reason)
            return
        self._text = isinstance(source, str)
        file = self._runner.catalogue.find(self._language).file
        encoded = base64.b64encode(content).decode("ascii")
        request = RunRequest(
            language=self._language, files=[protocol.File(name=file, base64=encoded)]
        )
        run = Run(request, runner=self._runner, sink=self)
        task = asyncio.create_task(self._execute(run))
        try:
            async for message in self._connection:
                data = message.encode() if isinstance(message, str) else message
                # What comes after the program's end, or after its end of file, has no reader.
                with contextlib.suppress(NoSuchRunError):
                    run.stdin(data) if data else run.eof()
        except TooLargeError as exc:
            run.end("cancelled")
            await self._socket.close(1009, exc.message)
        except BusyError as exc:
            run.end("cancelled")
            await self._socket.close(1013, f"{exc.code}: {exc.message}")
        except ConnectionClosed:
            pass
        finally:
            await _cancelled([task])

    async def send(self, event: ServerMessage) -> None:
        """Deliver one event; see `run.Sink`. Only output and the exit show in this protocol."""
        if isinstance(event, Stdout):
            if event.data is not UNSET:
                await self._socket.send(event.data.encode(), text=self._text)
            else:
                # Text can't hold these bytes as they are.
                data = protocol.content_bytes(UNSET, event.base64, "$")
                await self._socket.send(data, text=False)
        elif isinstance(event, Exit):
            # Not awaited here: the closing handshake is the client's pace, and the run's slot is
            # not free before this returns.
            self._closing = asyncio.create_task(self._socket.close(1000, outcome(event)))

    async def _execute(self, run: Run) -> None:
        try:
            with _refusals_counted(self._runner):
                self._rate.take(self._client)
            await run.execute()
        except SinkClosedError:
            await self._socket.drop()
        except BusyError as exc:
            await self._socket.close(1013, f"{exc.code}: {exc.message}")
        except WsrunnerError as exc:
            await self._socket.close(1008, f"{exc.code}: {exc.message}")
        except Exception:
            log.exception("run %s failed", run.run_id)
            await self._socket.close(1011, f"internal: an error of the server ended {run.run_id}")
        if self._closing is not None:
            await self._closing


def outcome(event: Exit) -> str:
    """Return an exit in a few words: ``exit 3``, ``signal SIGSEGV``, ``timeout``."""
    words = {"exited": f"exit {event.code}", "signaled": f"signal {event.signal}"}
    text = words.get(event.reason, event.reason)
    return f"{text} (build)" if event.stage == "build" else text


@contextlib.contextmanager
def _refusals_counted(runner: Runner) -> Iterator[None]:
    """Count a run that is refused before there is a `Run`, which counts for itself."""
    try:
        yield
    except WsrunnerError as exc:
        runner.metrics.count_refused(exc.code)
        raise


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have cleaned up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
