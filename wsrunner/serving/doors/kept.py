"""Kept runs over HTTP: begun with 202, then asked for, read on, driven and cancelled by their key.

Owns ``/v1/runs/{run}``. A client that hangs up leaves the run as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
from aiohttp import web
from msgspec import UNSET

from wsrunner import protocol
from wsrunner.errors import BadMessageError
from wsrunner.live.journal import Entry
from wsrunner.live.show import Item, Seat, Show
from wsrunner.runs.events import Exit, Refused
from wsrunner.runs.job import Principal
from wsrunner.serving import answers, wire
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors.asking import allow_origin, asker
from wsrunner.serving.doors.body import no_continue, read_body
from wsrunner.serving.doors.exchange import response_of
from wsrunner.serving.doors.hangup import carrying
from wsrunner.serving.doors.readers import (
    KEEP_ALIVE_S,
    UNBUFFERED,
    count_run,
    event_text,
    line_text,
)
from wsrunner.serving.doors.run_state import refuse, state_of, told_end
from wsrunner.units import KIB

RUNS_PATH = "/v1/runs"
KEY_HEADER = "Run-Key"
DRIVER = "http"
"""Whose stdin all requests send: it is one, however many connections carry it."""

Encode = Callable[[protocol.ServerMessage], bytes]
ENCODINGS: dict[str, Encode] = {
    "text/event-stream": event_text,
    "application/x-ndjson": line_text,
}


class _Signal(msgspec.Struct, forbid_unknown_fields=True):
    signal: protocol.Signal


_signal_decoder = msgspec.json.Decoder(_Signal)


def wants_async(request: web.Request) -> bool:
    """Whether the client would have its answer at once (RFC 7240 section 4.1)."""
    preferred = ",".join(request.headers.getall("Prefer", ())).split(",")
    return "respond-async" in [each.partition(";")[0].strip().lower() for each in preferred]


class KeptRuns:
    """Begins runs that are kept, and answers what is asked of them.

    Args:
        desk: Has the runs.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered."""
        path = f"{RUNS_PATH}/{{run}}"
        return [
            web.get(path, self.show),
            web.delete(path, self.cancel),
            web.post(f"{path}/stdin", self.stdin, expect_handler=no_continue),
            web.post(f"{path}/eof", self.eof, expect_handler=no_continue),
            web.post(f"{path}/signal", self.signal, expect_handler=no_continue),
        ]

    async def begin(
        self, request: web.Request, asked: protocol.PostedRun, principal: Principal
    ) -> web.StreamResponse:
        """Start a run that goes on without its client; answers once it is accepted."""
        began = await self._announced(asked, principal.tenant)
        # Its client has gone by then: with 0 seconds it would not outlive this answer.
        keep_s = self._desk.settings.keep_s if asked.keep_s is UNSET else asked.keep_s
        count_run(self._desk, principal)
        once = None if asked.once is UNSET else asked.once
        with carrying(request):
            seat = await self._desk.house.begin(
                wire.job_of(asked), principal, keep_s=keep_s, once=once, began=began
            )
            try:
                refuse(await seat.next())
            finally:
                seat.leave()
        record = seat.show.record
        accepted = protocol.Accepted(
            id=asked.id, run=record.run_id, drive=record.drive, view=record.view
        )
        response = response_of(answers.json(202, accepted))
        response.headers["Location"] = f"{RUNS_PATH}/{record.run_id}"
        if wants_async(request):
            response.headers["Preference-Applied"] = "respond-async"
        return response

    async def _announced(self, asked: protocol.PostedRun, tenant: str) -> Callable[[Show], None]:
        """Return what is to be called with the run, which sees to its callback if it has one.

        Raises:
            WsrunnerError: It may not go there, or too many wait.
        """
        callback, webhooks = asked.callback, self._desk.webhooks
        if callback is UNSET:
            return lambda _: None
        webhooks.check(callback.url, callback.secret)
        await webhooks.check_room(tenant)
        return lambda show: webhooks.follow(show, callback.url, callback.secret, told_end, tenant)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Say how a run is, or tell of it from where the client has left it."""
        kinds = ",".join(request.headers.getall("Accept", ())).split(",")
        named = [each.partition(";")[0].strip().lower() for each in kinds]
        kind = next((each for each in named if each in ENCODINGS), None)
        async with self._place(request), self._seat(request, after=_after(request)) as seat:
            if kind is None:
                return response_of(answers.json(200, state_of(seat.show)))
            return await self._tell(request, seat, kind)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """End a run."""
        async with self._place(request), self._driving(request) as seat:
            seat.cancel()
        return web.Response(status=204)

    async def stdin(self, request: web.Request) -> web.StreamResponse:
        """Pass a body to the program's stdin."""
        at = _number(request, "at")
        async with self._place(request):
            # Before there is a seat: the program waits for who drives it and takes no output.
            max_bytes = self._desk.settings.message_kb * KIB
            body = await read_body(request, max_bytes, self._desk.inlet)
            async with self._driving(request) as seat:
                seat.stdin(body, at)
        return web.Response(status=204)

    async def eof(self, request: web.Request) -> web.StreamResponse:
        """End the program's stdin."""
        async with self._place(request), self._driving(request) as seat:
            seat.eof()
        return web.Response(status=204)

    async def signal(self, request: web.Request) -> web.StreamResponse:
        """Send the program a signal."""
        async with self._place(request):
            body = await read_body(request, KIB, self._desk.inlet)
            name = protocol.decode_as(body, _signal_decoder, KIB, '{"signal":"SIGINT"}').signal
            async with self._driving(request) as seat:
                seat.signal(name)
        return web.Response(status=204)

    @contextlib.asynccontextmanager
    async def _place(self, request: web.Request) -> AsyncIterator[None]:
        """Let a client in, and count it for the length of the block.

        Raises:
            AccessError: It may not.
            NoSeatError: It has too many.
        """
        if request.method != "GET":
            allow_origin(self._desk, request)
        leave = self._desk.seats.take(asker(self._desk, request))
        try:
            yield
        finally:
            leave()

    @contextlib.asynccontextmanager
    async def _seat(self, request: web.Request, *, after: int = 0) -> AsyncIterator[Seat]:
        """Attach the client to the run of the path, by its key, for the length of the block.

        Raises:
            NoSuchRunError: There is none, or the key is not one of its keys.
        """
        key = request.headers.get(KEY_HEADER, "")
        run_id = request.match_info["run"]
        seat = await self._desk.house.attach(run_id, key, after=after, name=DRIVER)
        try:
            yield seat
        finally:
            seat.leave()

    @contextlib.asynccontextmanager
    async def _driving(self, request: web.Request) -> AsyncIterator[Seat]:
        """The same for who sends something to the run; ends once that has been judged.

        Raises:
            WsrunnerError: Why it was refused.
        """
        async with self._seat(request) as seat:
            yield seat
            await seat.judged(self._desk.house.patience_s)

    async def _tell(self, request: web.Request, seat: Seat, kind: str) -> web.StreamResponse:
        """Write what happens until the run ends, or the client goes."""
        headers = UNBUFFERED | allow_origin(self._desk, request) | {"Content-Type": kind}
        response = web.StreamResponse(headers=headers)
        with carrying(request):
            await response.prepare(request)
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        items = await seat.next()
                except TimeoutError:
                    await response.write(b":\n\n" if ENCODINGS[kind] is event_text else b"")
                    continue
                for item in items:
                    message = wire.kept_message(item, UNSET, seat.show.record.run_id)
                    await response.write(ENCODINGS[kind](message))
                if not items or any(map(_is_end, items)):
                    return response


def _is_end(item: Item) -> bool:
    return isinstance(item, Entry) and isinstance(item.event, Exit | Refused)


def _after(request: web.Request) -> int:
    """Return the number of the last event that the client has."""
    last = request.headers.get("Last-Event-ID")
    if last is None:
        return _number(request, "after") or 0
    if not last.isdecimal() or len(last) > 16:  # noqa: PLR2004 - below 2^53
        raise BadMessageError(f"Last-Event-ID is {last[:100]!r}, which is no number")
    return int(last)


def _number(request: web.Request, name: str) -> int | None:
    """Return a number of the query, which knows nothing else."""
    if unknown := set(request.query) - {name}:
        raise BadMessageError(f"unknown in the query: {min(unknown)[:100]!r}; known: {name}")
    value = request.query.get(name)
    if value is None:
        return None
    if not value.isdecimal() or len(value) > 16:  # noqa: PLR2004 - below 2^53
        raise BadMessageError(f"{name} is {value[:100]!r}, which is no number")
    return int(value)
