"""What can be read of a server: whether it is up, its languages, its figures, its documents.

Owns these routes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from wsrunner.errors import WsrunnerError
from wsrunner.images import contents
from wsrunner.serving import answers, asyncapi
from wsrunner.serving.answers import Answer
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors import openapi
from wsrunner.serving.doors.asking import header_values
from wsrunner.serving.doors.exchange import response_of
from wsrunner.serving.metrics import CONTENT_TYPE
from wsrunner.serving.readiness import Readiness

PROBES = frozenset({"/healthz", "/readyz"})
"""What may be asked for by any name: a balancer has its own for this machine."""


class Lists:
    """Answers what is asked about the server.

    Args:
        desk: What is read.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._readiness = Readiness(desk.host)

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked for, and how it is answered."""
        return [
            web.get("/healthz", self.health),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.figures),
            web.get("/v1/languages", self.languages),
            web.get("/v1/languages/{language}", self.language),
            web.get("/v1/asyncapi.json", answering_with(asyncapi.document)),
            web.get("/v1/openapi.json", answering_with(openapi.document)),
        ]

    async def health(self, request: web.Request) -> web.StreamResponse:
        """Say that the process serves."""
        del request
        return response_of(answers.json(200, {"status": "ok"}))

    async def ready(self, request: web.Request) -> web.StreamResponse:
        """Say whether it could take a run now."""
        del request
        return response_of(await self._ready())

    async def _ready(self) -> Answer:
        if self._desk.host.draining:
            return answers.error(503, "draining", "the server is stopping")
        failure = await self._readiness.failure()
        if failure is not None:
            return answers.error(503, failure.code, failure.message)
        return answers.json(200, {"status": "ready"})

    async def figures(self, request: web.Request) -> web.StreamResponse:
        """Answer with the metrics."""
        self._desk.access.watcher(header_values(request), request.remote or "")
        pool = self._desk.host.pool
        gate = None
        with contextlib.suppress(WsrunnerError):
            gate = await self._desk.host.gate.state()
        text = self._desk.metrics.render(
            gate=gate,
            warm=pool.sizes(),
            pool_hits=pool.hits,
            pool_misses=pool.misses,
            workspaces=len(self._desk.host.workspaces),
        )
        return response_of(answers.answer(200, text, CONTENT_TYPE))

    async def languages(self, request: web.Request) -> web.StreamResponse:
        """Answer with the catalogue, and which images are there."""
        await self._desk.access.guest(header_values(request), request.remote or "")
        try:
            present = await self._desk.host.engine.images()
        except WsrunnerError as exc:
            return response_of(answers.error(503, exc.code, exc.message))
        listed = [language.facts(present) for language in self._desk.host.catalogue]
        return response_of(answers.json(200, listed))

    async def language(self, request: web.Request) -> web.StreamResponse:
        """Answer with what is known of one language, and which packages its image has."""
        await self._desk.access.guest(header_values(request), request.remote or "")
        language = self._desk.host.catalogue.find(request.match_info["language"])
        engine = self._desk.host.engine
        try:
            present = await engine.images()
            image = language.choose(present)
            labels = {} if image is None else await engine.labels(image)
        except WsrunnerError as exc:
            return response_of(answers.error(503, exc.code, exc.message))
        has = contents.packages_of(labels)
        listed = None if has is None else [package._asdict() for package in has]
        return response_of(answers.json(200, language.facts(present) | {"packages": listed}))


def answering_with(make: Callable[[], dict[str, Any]]) -> Callable[[web.Request], Any]:
    """Return what answers with a document: it says the same for as long as the process lives."""

    @functools.cache
    def encoded() -> bytes:
        return msgspec.json.encode(make()) + b"\n"

    async def send(request: web.Request) -> web.StreamResponse:
        del request
        return response_of(answers.answer(200, encoded(), "application/json"))

    return send
