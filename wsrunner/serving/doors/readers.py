"""How HTTP clients hear of their runs: all at once, or as it comes.

Owns the forms of the answers. The course of a run is `runs.run`'s.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from aiohttp import web
from msgspec import UNSET, UnsetType

from wsrunner import protocol
from wsrunner.engines.base import STDERR
from wsrunner.errors import WsrunnerError
from wsrunner.runs.delivery import Reader, ReaderGoneError
from wsrunner.runs.events import Event, Exit, File, LeftOut, Output, Refused, Stage, Started
from wsrunner.runs.job import Job, Principal
from wsrunner.runs.run import Run
from wsrunner.serving import answers, wire
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors.exchange import response_of
from wsrunner.serving.plain_session import outcome
from wsrunner.serving.results import BROKEN, GatheredFiles

KEEP_ALIVE_S = 15.0
"""How often something is sent to a client that hears nothing: proxies give up after 30 s or so."""
# nginx hands on what comes only if it is told to.
UNBUFFERED = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",
}


class Waiter(Reader, Protocol):
    """A reader whose end can be waited for.

    Attributes:
        run: What it reads; set when it has been started.
        ended: Set when it has heard all it will.
    """

    run: Run
    ended: asyncio.Event


async def carry(desk: Desk, job: Job, principal: Principal, reader: Waiter) -> None:
    """Start a run, and wait until its reader has heard all of it.

    Raises:
        RateLimitedError: The client starts too many.

    Cancelling ends the run and waits until nothing is left of it.
    """
    count_run(desk, principal)
    reader.run = desk.registry.start(job, principal, reader)
    try:
        await reader.ended.wait()
    finally:
        if not reader.ended.is_set():
            await desk.registry.abandon([reader.run])


def count_run(desk: Desk, principal: Principal) -> None:
    """Count one run more of a client.

    Raises:
        RateLimitedError: It starts too many.
    """
    try:
        desk.rate.admit(principal)
    except WsrunnerError as exc:
        desk.host.tell_refused(exc)
        raise


class Gathered:
    """A run's end and all of its output, by stage and stream.

    Attributes:
        exit: Its end; None if it was refused.
        error: Why it was refused.
        output: What came, in order: the stage, the stream, the bytes.
        files: What the run has made.
        workspace: Of a run in one, whether it is ``new`` or ``kept``.
    """

    run: Run

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.exit: Exit | None = None
        self.error: WsrunnerError | None = None
        self.stage: Stage = "queue"
        self.workspace: str | None = None
        self.output: list[tuple[Stage, int, bytes]] = []
        self.files = GatheredFiles()

    async def send(self, event: Event) -> None:
        """See `Reader.send`."""
        if isinstance(event, Started):
            self.stage = event.stage
            self.workspace = self.workspace or event.workspace
        elif isinstance(event, Output):
            self.output.append((self.stage, event.stream, event.data))
        elif isinstance(event, File | LeftOut):
            self.files.take(event)
        elif isinstance(event, Exit):
            self.exit = event
            self.ended.set()
        elif isinstance(event, Refused):
            self.error = event.error
            self.ended.set()

    async def drop(self) -> None:
        """See `Reader.drop`."""

    def over(self) -> None:
        """See `Reader.over`."""
        self.ended.set()

    def settled(self) -> Exit:
        """Return its end.

        Raises:
            WsrunnerError: It was refused, or an error of the server ended it.
        """
        if self.exit is None:
            raise self.error or WsrunnerError("an error of the server ended the run")
        return self.exit

    def stream(self, number: int, stage: Stage | None = None) -> bytes:
        """Return what came on a stream, in one stage or in all."""
        return b"".join(
            data
            for where, stream, data in self.output
            if stream == number and stage in {None, where}
        )

    def both(self, stage: Stage) -> bytes:
        """Return what came on both streams in a stage, in order."""
        return b"".join(data for where, _, data in self.output if where == stage)

    def result(self, id: str | UnsetType = UNSET) -> protocol.Result:  # noqa: A002
        """Return all of it as one message.

        Raises:
            WsrunnerError: See `settled`.
        """
        event = self.settled()
        out, err = self.stream(1), self.stream(STDERR)
        payload: dict[str, Any] = wire.named_payload("stdout", out)
        payload |= wire.named_payload("stderr", err)
        return protocol.Result(
            id=id,
            workspace=self.workspace or UNSET,
            run=self.run.run_id,
            **payload,
            **self.files.fields(),
            exit=wire.exit_message(event, id, self.run.run_id),
        )


class Answered(Gathered):
    """The same, answered as soon as there is an end: behind that the server has much else to do.

    Args:
        request: What is answered.
        id: The client's own name for the run.
        headers: Of the answer, beside those of all.

    Attributes:
        response: The answer, sent; None where it was refused.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        id: str | UnsetType,  # noqa: A002
        headers: dict[str, str],
    ) -> None:
        super().__init__()
        self.response: web.StreamResponse | None = None
        self._request = request
        self._id = id
        self._headers = headers

    async def send(self, event: Event) -> None:
        """See `Reader.send`."""
        if not isinstance(event, Exit):
            await super().send(event)
            return
        self.exit = event
        response = response_of(answers.json(200, self.result(self._id)))
        response.headers.update(self._headers)
        try:
            await response.prepare(self._request)
            await response.write_eof()
        except ConnectionError as exc:
            raise ReaderGoneError from exc
        self.response = response
        self.ended.set()


class Form(Protocol):
    """How a stream of events is written.

    Attributes:
        kind: Its media type.
        cut_short: Whether a run that the server has ended shows only in that the end is missing.
    """

    kind: str
    cut_short: bool

    def piece(self, event: Event, run: Run) -> bytes:
        """Return an event as it is written; nothing where it does not show."""
        ...

    def pause(self) -> bytes:
        """Return what is written while nothing happens, if anything."""
        ...


def event_text(message: protocol.ServerMessage, number: int | UnsetType | None = None) -> bytes:
    """Return a message as a server-sent event.

    Args:
        message: The message.
        number: The event's; by default the message's own, if it has one.
    """
    name = type(message).__struct_config__.tag
    number = getattr(message, "seq", UNSET) if number is None else number
    head = f"event: {name}\n" if number is UNSET else f"event: {name}\nid: {number}\n"
    return head.encode() + b"data: " + protocol.encode(message) + b"\n\n"


def line_text(message: protocol.ServerMessage) -> bytes:
    """Return a message as a line."""
    return protocol.encode(message) + b"\n"


class EventLines:
    """Server-sent events (WHATWG HTML, section 9.2): the socket's messages, one by one."""

    kind = "text/event-stream"
    cut_short = False

    def __init__(self, wording: wire.Wording) -> None:
        self._wording = wording

    def piece(self, event: Event, run: Run) -> bytes:
        """See `Form.piece`."""
        message = self._wording.message(event, run.run_id)
        return event_text(message, getattr(event, "seq", UNSET))

    def pause(self) -> bytes:
        """See `Form.pause`: a comment."""
        return b":\n\n"


class JsonLines:
    """The socket's messages, one a line."""

    kind = "application/x-ndjson"
    cut_short = False

    def __init__(self, wording: wire.Wording) -> None:
        self._wording = wording

    def piece(self, event: Event, run: Run) -> bytes:
        """See `Form.piece`."""
        return line_text(self._wording.message(event, run.run_id))

    def pause(self) -> bytes:
        """See `Form.pause`."""
        return b""


class RawOutput:
    """What the program writes, as it is; its outcome in a last line if that is asked for.

    Args:
        tell: Whether it is.
    """

    kind = "text/plain; charset=utf-8"
    cut_short = True

    def __init__(self, *, tell: bool) -> None:
        self._tell = tell
        self._midline = False

    def piece(self, event: Event, run: Run) -> bytes:
        """See `Form.piece`."""
        del run
        if isinstance(event, Output):
            self._midline = not event.data.endswith(b"\n")
            return event.data
        if isinstance(event, Exit) and self._tell:
            return b"\n" * self._midline + outcome(event).encode() + b"\n"
        return b""

    def pause(self) -> bytes:
        """See `Form.pause`."""
        return b""


class Streamed:
    """A run's events, written to its client as they come.

    Args:
        request: What is answered.
        form: How.
        headers: Of the answer.
    """

    run: Run

    def __init__(self, request: web.BaseRequest, form: Form, headers: dict[str, str]) -> None:
        self.ended = asyncio.Event()
        self.response: web.StreamResponse | None = None
        self.error: WsrunnerError | None = None
        self.broken = False
        self._request = request
        self._form = form
        self._headers = headers

    async def send(self, event: Event) -> None:
        """See `Reader.send`; what comes first says which status the answer has."""
        if isinstance(event, Refused) and self.response is None:
            self.error = event.error
            self.ended.set()
            return
        piece = self._form.piece(event, self.run)
        try:
            if self.response is None:
                headers = self._headers | {"Content-Type": self._form.kind}
                headers["Wsrunner-Run"] = self.run.run_id
                response = web.StreamResponse(headers=headers)
                await response.prepare(self._request)
                self.response = response
            if isinstance(event, Exit | Refused):
                self.broken = isinstance(event, Refused) or event.reason in BROKEN
                await self._end(piece)
            elif piece:
                await self.response.write(piece)
        except ConnectionError as exc:
            raise ReaderGoneError from exc

    async def _end(self, piece: bytes) -> None:
        """Write the last of it; at once, as behind an exit the server has much else to do."""
        assert self.response is not None
        if self.broken and self._form.cut_short:
            await self.response.write(piece)
        else:
            await self.response.write_eof(piece)
        self.ended.set()

    async def pause(self) -> None:
        """Write what keeps the connection alive while nothing happens."""
        piece = self._form.pause()
        if piece and self.response is not None and not self.ended.is_set():
            await self.response.write(piece)

    async def drop(self) -> None:
        """See `Reader.drop`."""
        if self._request.transport is not None:
            self._request.transport.abort()
        self.ended.set()

    def over(self) -> None:
        """See `Reader.over`."""
        self.ended.set()
