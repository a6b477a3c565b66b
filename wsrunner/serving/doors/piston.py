"""Piston's API, version 2: ``/api/v2/runtimes`` and ``/api/v2/execute``.

Owns its answers (github.com/engineer-man/piston, docs/api-v2.md). What is asked is `piston_words`',
its socket `piston_session`'s.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from wsrunner.engines.base import STDERR
from wsrunner.runs.events import Exit, Stage
from wsrunner.serving import answers, wire
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors.asking import asker
from wsrunner.serving.doors.body import RequestError, no_continue
from wsrunner.serving.doors.exchange import response_of
from wsrunner.serving.doors.readers import Gathered
from wsrunner.serving.doors.runs import JSON, Runs
from wsrunner.serving.piston_words import TO_MS, VERSION, Asked, fields_of, request_of, signal_of
from wsrunner.serving.results import BROKEN
from wsrunner.units import KIB

STDOUT = 1
_STATUS = {"timeout": "TO", "cpu_limit": "TO", "signaled": "SG", "output_limit": "OL"}
_MESSAGES = {
    "timeout": "Time limit exceeded (wall clock)",
    "cpu_limit": "Time limit exceeded",
    "output_limit": "Output limit exceeded",
    "out_of_memory": "Memory limit exceeded",
}


class Piston:
    """Answers as Piston does.

    Args:
        desk: Knows the languages and the limits.
        runs: Starts the runs.
    """

    def __init__(self, desk: Desk, runs: Runs) -> None:
        self._desk = desk
        self._runs = runs

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered; Piston takes a slash at the end."""
        routes = []
        for end in ("", "/"):
            routes += [
                web.get(f"/api/v2/runtimes{end}", self.runtimes),
                web.post(f"/api/v2/execute{end}", self.execute, expect_handler=no_continue),
            ]
        return routes

    async def runtimes(self, request: web.Request) -> web.StreamResponse:
        """List the languages whose images are here."""
        asker(self._desk, request)
        present = await self._desk.host.engine.images()
        listed = [
            {"language": language.id, "version": VERSION, "aliases": list(language.aliases)}
            for language in self._desk.host.catalogue
            if language.choose(present)
        ]
        return response_of(answers.json(200, listed))

    async def execute(self, request: web.Request) -> web.StreamResponse:
        """Run files, and tell build and run apart."""
        async with self._runs.place(request) as principal:
            if request.content_type != JSON:
                raise RequestError(
                    415, "unsupported_media_type", f"requests must be of type {JSON}"
                )
            asked = Asked(fields_of(await self._runs.json_body(request)))
            language = asked.runtime(self._desk.host.catalogue)
            job = wire.job_of(request_of(asked, language, self._desk.settings))
            gathered = await self._runs.gather(request, job, principal)
        end = gathered.settled()
        if end.reason in BROKEN:
            raise RequestError(500, end.reason, "the run was ended by the server")
        told: dict[str, Any] = {"run": _stage(gathered, end, "run")}
        if language.build or language.prepare:
            told["compile"] = _stage(gathered, end, "build")
        return response_of(answers.json(200, told | {"language": language.id, "version": VERSION}))


def _stage(gathered: Gathered, end: Exit, stage: Stage) -> dict[str, Any]:
    """Return what came of a stage; of a run that its build has kept from starting, nothing."""
    its_own = end.stage == stage
    built = stage == "build" and not its_own
    failed = not built and end.reason != "exited"
    return {
        "stdout": gathered.stream(STDOUT, stage).decode(errors="replace"),
        "stderr": gathered.stream(STDERR, stage).decode(errors="replace"),
        "output": gathered.both(stage).decode(errors="replace"),
        "code": 0 if built else end.code,
        "signal": None if built else signal_of(end),
        "message": None if built else _message(end),
        "status": None if built else _STATUS.get(end.reason, "RE" if failed or end.code else None),
        "cpu_time": round((end.cpu_s or 0) * TO_MS) if its_own else 0,
        "wall_time": round(end.wall_s * TO_MS) if its_own else 0,
        "memory": (end.memory_bytes or 0) // KIB * KIB if its_own else 0,
    }


def _message(end: Exit) -> str | None:
    if end.reason == "exited":
        return f"Exited with error status {end.code}" if end.code else None
    if end.reason == "signaled":
        return f"Caught fatal signal {end.signal}"
    return _MESSAGES.get(end.reason, end.reason)
