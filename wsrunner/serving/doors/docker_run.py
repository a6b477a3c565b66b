"""glot's docker-run: ``POST /run``, for clients that talk to it today.

Owns its words (github.com/glotcode/docker-run, api_docs/run.md; the result's fields are those of
github.com/glotcode/code-runner). Fields that it does not know it skips, and so does this.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET

from wsrunner import protocol
from wsrunner.engines.base import STDERR
from wsrunner.errors import UnknownLanguageError, WsrunnerError
from wsrunner.languages import Catalogue
from wsrunner.runs.events import Exit, Stage
from wsrunner.serving import answers, wire
from wsrunner.serving.access import AccessError
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors.body import RequestError, no_continue, read_body
from wsrunner.serving.doors.exchange import response_of
from wsrunner.serving.doors.readers import Gathered
from wsrunner.serving.doors.runs import Runs
from wsrunner.serving.results import BROKEN
from wsrunner.units import KIB

STDOUT = 1
LIMIT_CODES = {
    "timeout": "limits.execution_time",
    "cpu_limit": "limits.execution_time",
    "output_limit": "limits.read.size",
}
"""Ends that docker-run tells as errors of the request."""


class GlotFile(msgspec.Struct, frozen=True):
    """One source file."""

    name: str
    content: str


class Payload(msgspec.Struct, frozen=True):
    """What is to be run: what the image's code runner reads."""

    files: list[GlotFile]
    language: str = ""
    stdin: str | None = None
    command: str | None = None


class GlotLimits(msgspec.Struct, frozen=True, rename="camel"):
    """Limits of one request, in whole seconds and bytes."""

    max_execution_time: int | None = None
    max_output_size: int | None = None


class GlotRequest(msgspec.Struct, frozen=True):
    """The body. The image says which language it is where the payload does not."""

    payload: Payload
    image: str = ""
    limits: GlotLimits = GlotLimits()


_decoder = msgspec.json.Decoder(GlotRequest)
_EXAMPLE = '{"image":"glot/python","payload":{"language":"python","files":[…]}}'


class DockerRun:
    """Answers as docker-run does.

    Args:
        desk: Knows the languages and the limits.
        runs: Starts the runs.
    """

    def __init__(self, desk: Desk, runs: Runs) -> None:
        self._desk = desk
        self._runs = runs

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered."""
        return [web.post("/run", self.run, expect_handler=no_continue)]

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Run a payload; every refusal has docker-run's form."""
        try:
            return await self._run(request)
        except AccessError as exc:
            answer = exc.answer()
            return _refusal(answer, exc.code, exc.message)
        except RequestError as exc:
            answer = answers.error(exc.status, exc.code, exc.message, exc.retry_after_s)
            answer.headers.update(exc.headers)
            return _refusal(answer, exc.code, exc.message)
        except WsrunnerError as exc:
            code = "request.parse" if exc.code == "bad_message" else exc.code
            return _refusal(answers.of_error(exc), code, exc.message)

    async def _run(self, request: web.Request) -> web.StreamResponse:
        async with self._runs.place(request) as principal:
            # docker-run never looks at the body's media type.
            body = await read_body(request, self._runs.max_bytes, self._desk.inlet)
            asked = protocol.decode_as(body, _decoder, self._runs.max_bytes, _EXAMPLE)
            job = wire.job_of(self._request(asked))
            gathered = await self._runs.gather(request, job, principal)
        end = gathered.settled()
        if end.reason in LIMIT_CODES:
            code = LIMIT_CODES[end.reason]
            raise RequestError(400, code, f"the run was ended: {end.reason.replace('_', ' ')}")
        if end.reason in BROKEN:
            raise RequestError(500, end.reason, "the run was ended by the server")
        return response_of(answers.json(200, result(gathered, end)))

    def _request(self, asked: GlotRequest) -> protocol.RunRequest:
        """Return the same in our words.

        Raises:
            WsrunnerError: It can't be run.
        """
        payload = asked.payload
        limits: dict[str, Any] = {}
        if asked.limits.max_execution_time is not None:
            wall_s = asked.limits.max_execution_time
            limits["wall_s"] = min(wall_s, self._desk.settings.wall_s)
        if asked.limits.max_output_size is not None:
            output_kb = max(1, math.ceil(asked.limits.max_output_size / KIB))
            limits["output_kb"] = min(output_kb, self._desk.settings.output_kb)
        request = protocol.RunRequest(
            language=payload.language or language_of(self._desk.host.catalogue, asked.image),
            files=[protocol.File(name=file.name, content=file.content) for file in payload.files],
            stdin=payload.stdin or "",
            command=payload.command or UNSET,
            limits=protocol.Limits(**limits),
        )
        protocol.check_run(request)
        return request


def language_of(catalogue: Catalogue, image: str) -> str:
    """Return the language of an image of the catalogue.

    Raises:
        UnknownLanguageError: None has it.
    """
    for language in catalogue:
        if image in language.images:
            return language.id
    raise UnknownLanguageError(
        f"no language has the image {image[:100]!r}; name one in payload.language"
    )


def result(gathered: Gathered, end: Exit) -> dict[str, str]:
    """Return a run's output and what went wrong, empty for nothing.

    A build's output shows only where it failed, as there.
    """
    stage: Stage = end.stage
    return {
        "stdout": gathered.stream(STDOUT, stage).decode(errors="replace"),
        "stderr": gathered.stream(STDERR, stage).decode(errors="replace"),
        "error": failure(end),
    }


def failure(end: Exit) -> str:
    """Return what went wrong, in code-runner's words where it has some."""
    if end.reason == "exited":
        return f"Exit code: {end.code}" if end.code else ""
    return f"Signal: {end.signal}" if end.signal else end.reason.replace("_", " ").capitalize()


def _refusal(answer: answers.Answer, code: str, message: str) -> web.Response:
    refused = answers.json(answer.status, {"error": code, "message": message})
    return response_of(answers.Answer(answer.status, refused.body, answer.headers))
