"""One socket of a client of Piston: ``WS /api/v2/connect``.

Owns its messages and close codes (github.com/engineer-man/piston, readme.md: interactive
execution).
Like the other sessions it reads its run's events itself; see `plain_session`.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from typing import Any, get_args

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from wsrunner import protocol
from wsrunner.engines.base import STDERR
from wsrunner.errors import BadMessageError, NoSuchRunError, TooLargeError, WsrunnerError
from wsrunner.runs.delivery import ReaderGoneError
from wsrunner.runs.events import Event, Exit, Output, Refused, Stage, Started
from wsrunner.runs.job import Principal
from wsrunner.runs.registry import Registry
from wsrunner.runs.run import Run
from wsrunner.serving import wire
from wsrunner.serving.outlet import Outlet
from wsrunner.serving.piston_words import VERSION, Asked, fields_of, request_of, signal_of
from wsrunner.serving.rate import RateLimiter
from wsrunner.serving.results import BROKEN
from wsrunner.units import KIB

INIT_S = 5.0
"""How long a client may take over its first message; Piston's one second is short."""
ALREADY = (4000, "Already Initialized")
TOO_LATE = (4001, "Initialization Timeout")
NOTIFIED = (4002, "Notified Error")
NOT_YET = (4003, "Not yet initialized")
NO_STDIN = (4004, "Can only write to stdin")
NO_SIGNAL = (4005, "Invalid signal")
COMPLETED = (4999, "Job Completed")
_STAGES: dict[Stage, str] = {"build": "compile", "run": "run"}
_STREAMS = {STDERR: "stderr"}
_encoder = msgspec.json.Encoder()


class _ClosingError(Exception):
    """The client has done what closes its socket: code and reason."""


class PistonSession:
    """Piston's protocol on one socket; also its run's reader.

    Args:
        connection: An accepted WebSocket.
        registry: Starts the run.
        rate: How many runs a client may start.
        principal: Who is at the other end.
    """

    def __init__(
        self,
        connection: ServerConnection,
        registry: Registry,
        rate: RateLimiter,
        principal: Principal,
    ) -> None:
        self._connection = connection
        self._registry = registry
        self._rate = rate
        self._principal = principal
        self._outlet = Outlet(connection, registry.host.settings.slow_client_s)
        self._run: Run | None = None
        self._language = ""
        self._stage: Stage = "queue"
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._closing: asyncio.Task[None] | None = None

    async def converse(self) -> None:
        """Start what is asked for, and pass on what comes for it."""
        timer = asyncio.get_running_loop().call_later(INIT_S, self._late)
        try:
            async for message in self._connection:
                self._take(message)
        except _ClosingError as exc:
            self._close(exc.args)
        except WsrunnerError as exc:
            if self._run is None:
                self._registry.host.tell_refused(exc)
            await self._tell_error(exc)
        except (ConnectionClosed, ReaderGoneError):
            pass
        finally:
            timer.cancel()
            if self._run is not None:
                await self._registry.abandon([self._run])
            if self._closing is not None:
                await self._closing

    # What the client sends.

    def _take(self, message: str | bytes) -> None:
        """Do what a message says; one of a kind that is not known says nothing.

        Raises:
            _ClosingError, WsrunnerError: It makes no sense here.
        """
        max_bytes = self._registry.host.settings.message_kb * KIB
        size = len(message.encode() if isinstance(message, str) else message)
        if size > max_bytes:
            raise TooLargeError(f"the message has {size} bytes; the limit is {max_bytes} bytes")
        fields = fields_of(message)
        if not isinstance(fields, dict):
            raise BadMessageError("the message is required as an object")
        kind = fields.get("type")
        if kind == "init":
            self._start(fields)
        elif kind in {"data", "signal"}:
            if self._run is None:
                raise _ClosingError(*NOT_YET)
            # What comes after the program's end has no reader.
            with contextlib.suppress(NoSuchRunError):
                (self._data if kind == "data" else self._signal)(self._run, fields)

    def _start(self, fields: dict[str, Any]) -> None:
        if self._run is not None:
            raise _ClosingError(*ALREADY)
        host = self._registry.host
        asked = Asked(fields)
        language = asked.runtime(host.catalogue)
        request = request_of(asked, language, host.settings)
        # All of its input comes later.
        request = msgspec.structs.replace(request, stdin=msgspec.UNSET)
        self._rate.admit(self._principal)
        self._language = language.id
        self._run = self._registry.start(wire.job_of(request), self._principal, self)

    def _data(self, run: Run, fields: dict[str, Any]) -> None:
        if fields.get("stream") != "stdin":
            raise _ClosingError(*NO_STDIN)
        data = fields.get("data")
        if not isinstance(data, str):
            raise BadMessageError("data is required as a string")
        run.input.stdin(data.encode(errors="replace"))

    def _signal(self, run: Run, fields: dict[str, Any]) -> None:
        name = fields.get("signal")
        if not isinstance(name, str) or name not in get_args(protocol.Signal):
            raise _ClosingError(*NO_SIGNAL)
        run.input.signal(name)

    # What the client hears.

    async def send(self, event: Event) -> None:
        """See `Reader.send`."""
        if isinstance(event, Started):
            await self._tell_stage(event.stage)
        elif isinstance(event, Output):
            await self._tell_output(_STREAMS.get(event.stream, "stdout"), event.data)
        elif isinstance(event, Exit):
            await self._tell_exit(event)
        elif isinstance(event, Refused):
            await self._tell_error(event.error)

    async def drop(self) -> None:
        """See `Reader.drop`."""
        await self._outlet.drop()

    def over(self) -> None:
        """See `Reader.over`."""

    async def _tell(self, **message: Any) -> None:
        await self._outlet.send(_encoder.encode(message), text=True)

    async def _tell_stage(self, stage: Stage) -> None:
        if self._stage == "queue":
            await self._tell(type="runtime", language=self._language, version=VERSION)
        elif stage != self._stage:
            await self._flush()
            await self._tell(type="exit", stage=_STAGES[self._stage], code=0, signal=None)
        self._stage = stage
        await self._tell(type="stage", stage=_STAGES[stage])

    async def _tell_output(self, stream: str, data: bytes, *, last: bool = False) -> None:
        """Tell output as text: a character may come in two pieces."""
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        if text := decoder.decode(data, last):
            await self._tell(type="data", stream=stream, data=text)

    async def _flush(self) -> None:
        for stream in list(self._decoders):
            await self._tell_output(stream, b"", last=True)

    async def _tell_exit(self, end: Exit) -> None:
        await self._flush()
        stage = _STAGES.get(end.stage)
        if stage is None or end.reason in BROKEN:
            await self._tell(type="error", message="the run was ended by the server")
            self._close(NOTIFIED)
            return
        await self._tell(type="exit", stage=stage, code=end.code, signal=signal_of(end))
        self._close(COMPLETED)

    async def _tell_error(self, error: WsrunnerError) -> None:
        with contextlib.suppress(ReaderGoneError):
            await self._tell(type="error", message=error.message)
        self._close(NOTIFIED)

    def _late(self) -> None:
        if self._run is None:
            self._close(TOO_LATE)

    def _close(self, end: tuple[int, str]) -> None:
        """Close; not awaited, as that is at the client's pace, and the run's slot waits for it."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._outlet.close(*end))
