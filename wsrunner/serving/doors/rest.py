"""The REST service that this server grew from: ``POST /api_v1/run``.

Owns its words: ``language`` and ``code``, with `X-Access-Token`. What it answered was only that it
had taken the request; the result comes with the answer here, in the form of docker-run's.
"""

from __future__ import annotations

import msgspec
from aiohttp import web
from msgspec import UNSET

from wsrunner import protocol
from wsrunner.serving import answers, wire
from wsrunner.serving.doors.body import no_continue
from wsrunner.serving.doors.docker_run import result
from wsrunner.serving.doors.exchange import response_of
from wsrunner.serving.doors.runs import Runs


class RestRequest(msgspec.Struct, frozen=True):
    """The body; fields that are not known are skipped."""

    language: str
    code: str
    stdin: str | None = None
    args: list[str] = []
    command: str | None = None


_decoder = msgspec.json.Decoder(RestRequest)


class Rest:
    """Answers what clients of the REST service ask.

    Args:
        runs: Starts the runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered."""
        return [web.post("/api_v1/run", self.run, expect_handler=no_continue)]

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Run code, and answer with what came of it."""
        async with self._runs.place(request) as principal:
            body = await self._runs.json_body(request)
            asked = protocol.decode_as(body, _decoder, self._runs.max_bytes, protocol.POST_EXAMPLE)
            run = protocol.RunRequest(
                language=asked.language,
                code=asked.code,
                stdin=asked.stdin or "",
                args=asked.args,
                command=asked.command or UNSET,
            )
            protocol.check_run(run)
            gathered = await self._runs.gather(request, wire.job_of(run), principal)
        end = gathered.settled()
        told = result(gathered, end) | {"exit": wire.exit_message(end, UNSET, gathered.run.run_id)}
        return response_of(answers.json(200, told))
