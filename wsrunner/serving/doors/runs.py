"""Runs over HTTP: ``POST /v1/run``, and plain source to ``POST /v1/run/{language}``.

Owns these routes, and which form an answer has. A client that hangs up has cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
from aiohttp import web

from wsrunner import protocol
from wsrunner.errors import BadMessageError
from wsrunner.runs.job import Job, Principal
from wsrunner.serving import answers, wire
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors.asking import allow_origin, asker
from wsrunner.serving.doors.body import RequestError, check_kind, no_continue, read_body
from wsrunner.serving.doors.exchange import response_of
from wsrunner.serving.doors.forms import FORM, request_of_form
from wsrunner.serving.doors.hangup import carrying
from wsrunner.serving.doors.kept import KeptRuns, wants_async
from wsrunner.serving.doors.readers import (
    KEEP_ALIVE_S,
    UNBUFFERED,
    Answered,
    EventLines,
    Form,
    Gathered,
    JsonLines,
    RawOutput,
    Streamed,
    carry,
)
from wsrunner.serving.paths import RUN_PATH
from wsrunner.units import KIB

JSON = "application/json"
GATHERED_MAX_KB = 4096
"""Output of a run that is answered at once: it is kept until the end, by every run in a slot."""
_PLAIN_QUERY = frozenset({"status", "stdin", "arg"})


class Runs:
    """Starts runs for those who ask by HTTP.

    Args:
        desk: Starts the runs.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._kept = KeptRuns(desk)

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered."""
        return [
            web.post(RUN_PATH, self.run, expect_handler=no_continue),
            web.post(f"{RUN_PATH}/{{language:.*}}", self.run_plain, expect_handler=no_continue),
            *self._kept.routes(),
        ]

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Run what the body says."""
        async with self.place(request) as principal:
            asked = await self._asked(request)
            if asked.is_kept or wants_async(request):
                return await self._kept.begin(request, asked, principal)
            # Nobody can send more of it.
            job = wire.job_of(msgspec.structs.replace(asked, stdin=asked.stdin or ""))
            form = _chosen_form(request, asked)
            if form is not None:
                return await self._stream(request, job, principal, form)
            answered = Answered(request, asked.id, allow_origin(self._desk, request))
            await self._carry(request, job, principal, answered)
            # Unsent it is where the run was refused, or its client has gone.
            return answered.response or response_of(answers.json(200, answered.result(asked.id)))

    async def run_plain(self, request: web.Request) -> web.StreamResponse:
        """Run the source that is the body; the answer is its output as it comes."""
        async with self.place(request) as principal:
            tell, stdin, args = _plain_query(request)
            # Before it has sent megabytes for nothing.
            language = self._desk.host.catalogue.find(request.match_info["language"])
            source = await read_body(request, self.max_bytes, self._desk.inlet)
            job = Job(language.id, code=source, stdin=stdin, args=args)
            return await self._stream(request, job, principal, RawOutput(tell=tell))

    async def _asked(self, request: web.Request) -> protocol.PostedRun:
        """Return what a body asks for, be it JSON or a form."""
        if request.content_type == FORM:
            body = await read_body(request, self.max_bytes, self._desk.inlet)
            return await request_of_form(request, body)
        return protocol.decode_run(await self.json_body(request), max_bytes=self.max_bytes)

    # What the adapters use, too.

    @property
    def max_bytes(self) -> int:
        """Largest body, as messages are."""
        return self._desk.settings.message_kb * KIB

    @contextlib.asynccontextmanager
    async def place(self, request: web.Request) -> AsyncIterator[Principal]:
        """Let somebody in who may start runs, and count them for the length of the block.

        Raises:
            AccessError: They may not.
            NoSeatError: They have too many.
        """
        allow_origin(self._desk, request)
        principal = asker(self._desk, request)
        leave = self._desk.seats.take(principal)
        try:
            yield principal
        finally:
            leave()

    async def json_body(self, request: web.Request) -> bytes:
        """Return a body that is JSON.

        Raises:
            RequestError, TooLargeError: See `read_body`.
        """
        check_kind(request, JSON)
        return await read_body(request, self.max_bytes, self._desk.inlet)

    async def gather(self, request: web.Request, job: Job, principal: Principal) -> Gathered:
        """Carry a run out, and return all of it, up to `GATHERED_MAX_KB` of output.

        Raises:
            RateLimitedError: The client starts too many.
        """
        gathered = Gathered()
        await self._carry(request, job, principal, gathered)
        return gathered

    async def _carry(
        self, request: web.Request, job: Job, principal: Principal, gathered: Gathered
    ) -> None:
        with carrying(request):
            await carry(self._desk, self._bounded(job), principal, gathered)

    def _bounded(self, job: Job) -> Job:
        """Let a job print no more than is kept until its end."""
        server_kb = self._desk.settings.output_kb
        asked_kb = server_kb if job.limits.output_kb is None else job.limits.output_kb
        # What is above the server's limit is refused as everywhere.
        if not GATHERED_MAX_KB < asked_kb <= server_kb:
            return job
        return replace(job, limits=replace(job.limits, output_kb=GATHERED_MAX_KB))

    async def _stream(
        self, request: web.Request, job: Job, principal: Principal, form: Form
    ) -> web.StreamResponse:
        headers = UNBUFFERED | allow_origin(self._desk, request)
        reader = Streamed(request, form, headers)
        pauses = asyncio.create_task(_keep_alive(reader))
        try:
            with carrying(request):
                await carry(self._desk, job, principal, reader)
        finally:
            pauses.cancel()
        if reader.error is not None:
            raise reader.error
        if reader.response is None:
            raise RequestError(500, "internal", "an error of the server ended the run")
        if reader.broken and form.cut_short and request.transport is not None:
            # Without its last chunk the client knows that something is missing.
            request.transport.close()
        return reader.response


async def _keep_alive(reader: Streamed) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            await reader.pause()


def _chosen_form(request: web.Request, asked: protocol.RunRequest) -> Form | None:
    """Return the form in which the client wants events; None if it wants the result."""
    wording = wire.Wording(asked.id)
    forms: dict[str, Form] = {form.kind: form for form in (EventLines(wording), JsonLines(wording))}
    for entry in ",".join(request.headers.getall("Accept", ())).split(","):
        kind = entry.partition(";")[0].strip().lower()
        if kind in forms or kind in {JSON, "*/*"}:
            return forms.get(kind)
    return None


def _plain_query(request: web.Request) -> tuple[bool, bytes, list[str]]:
    """Return whether to tell the outcome, stdin, and the arguments.

    Raises:
        BadMessageError, TooLargeError: There is something else in the query, or more than goes.
    """
    query = request.query
    if unknown := set(query) - _PLAIN_QUERY:
        known = ", ".join(sorted(_PLAIN_QUERY))
        raise BadMessageError(f"unknown in the query: {min(unknown)[:100]!r}; known: {known}")
    if query.get("status", "line") != "line":
        raise BadMessageError(f"status is {query['status'][:100]!r}; it may be line")
    args = query.getall("arg", [])
    protocol.check_run(protocol.RunRequest(language="", code="", args=args))
    return "status" in query, query.get("stdin", "").encode(), args
