"""Piston's API, version 2: ``/api/v2/runtimes`` and ``/api/v2/execute``.

Owns its words (github.com/engineer-man/piston, docs/api-v2.md), its checks and their messages,
which clients show as they are. Fields that it does not know it skips, and so does this.
"""

from __future__ import annotations

import binascii
import math
from base64 import b64decode, b64encode
from typing import Any

import msgspec
from aiohttp import web

from wsrunner import protocol
from wsrunner.engines.base import STDERR
from wsrunner.errors import UnknownLanguageError
from wsrunner.languages import Language
from wsrunner.runs.events import Exit, Stage
from wsrunner.runs.order import MEMORY_MIN_MB
from wsrunner.serving import answers, wire
from wsrunner.serving.desk import Desk
from wsrunner.serving.doors.asking import asker
from wsrunner.serving.doors.body import RequestError, no_continue
from wsrunner.serving.doors.exchange import response_of
from wsrunner.serving.doors.readers import BROKEN, Gathered
from wsrunner.serving.doors.runs import JSON, Runs
from wsrunner.settings import Settings
from wsrunner.units import KIB, MIB

VERSION = "0.0.0"
"""Of every runtime: an image has the one that it has, and does not say which."""
STDOUT = 1
TO_MS = 1000
_ENCODINGS = frozenset({"base64", "hex", "utf8"})
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
            asked = _Asked(await self._runs.json_body(request))
            language = self._language(asked)
            job = wire.job_of(_request(asked, language, self._desk.settings))
            gathered = await self._runs.gather(request, job, principal)
        end = gathered.settled()
        if end.reason in BROKEN:
            raise RequestError(500, end.reason, "the run was ended by the server")
        told: dict[str, Any] = {"run": _stage(gathered, end, "run")}
        if language.build or language.prepare:
            told["compile"] = _stage(gathered, end, "build")
        return response_of(answers.json(200, told | {"language": language.id, "version": VERSION}))

    def _language(self, asked: _Asked) -> Language:
        try:
            return self._desk.host.catalogue.find(asked.language)
        except UnknownLanguageError as exc:
            raise _refusal(f"{asked.language[:64]}-{asked.version} runtime is unknown") from exc


class _Asked:
    """A request's fields, checked one after the other as Piston does.

    Raises:
        RequestError: One is wrong; the message is Piston's.
    """

    def __init__(self, body: bytes) -> None:
        try:
            fields = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise _refusal(f"not JSON: {exc}") from exc
        if not isinstance(fields, dict):
            raise _refusal("the request is required as an object")
        self._fields: dict[str, Any] = fields
        self.language = self._text("language")
        self.version = self._text("version")[:64]
        files = fields.get("files")
        if not isinstance(files, list):
            raise _refusal("files is required as an array")
        for index, file in enumerate(files):
            if not isinstance(file, dict) or not isinstance(file.get("content"), str):
                raise _refusal(f"files[{index}].content is required as a string")
        if all(_encoding(file) != "utf8" for file in files):
            raise _refusal("files must include at least one utf8 encoded file")
        self.files: list[dict[str, Any]] = files
        self.stdin = fields.get("stdin") or ""
        if not isinstance(self.stdin, str):
            raise _refusal("If specified, stdin must be a string")
        self.args = fields.get("args") or []
        if not isinstance(self.args, list) or not all(isinstance(arg, str) for arg in self.args):
            raise _refusal("If specified, args must be an array of strings")

    def _text(self, name: str) -> str:
        value = self._fields.get(name)
        if not value or not isinstance(value, str):
            raise _refusal(f"{name} is required as a string")
        return value

    def number(self, name: str, most: float) -> float | None:
        """Return a limit; None if there is none, for which memory has -1, too."""
        value = self._fields.get(name)
        if not value or (value == -1 and name.endswith("memory_limit")):
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _refusal(f"If specified, {name} must be a number")
        if value > most:
            raise _refusal(f"{name} cannot exceed the configured limit of {most:.0f}")
        if value < 0:
            raise _refusal(f"{name} must be non-negative")
        return value


def _refusal(message: str) -> RequestError:
    return RequestError(400, "bad_message", message)


def _encoding(file: dict[str, Any]) -> str:
    """Return a file's encoding; Piston takes one that it does not know for utf8."""
    encoding = file.get("encoding")
    return encoding if isinstance(encoding, str) and encoding in _ENCODINGS else "utf8"


def _request(asked: _Asked, language: Language, settings: Settings) -> protocol.RunRequest:
    """Return the same in our words.

    Raises:
        RequestError, BadMessageError, TooLargeError: It can't be run.
    """
    files = [
        _file(file, language.file if index == 0 else f"file{index}.code", index)
        for index, file in enumerate(asked.files)
    ]
    request = protocol.RunRequest(
        language=language.id,
        files=files,
        stdin=asked.stdin,
        args=asked.args,
        limits=_limits(asked, language, settings),
    )
    protocol.check_run(request)
    return request


def _file(file: dict[str, Any], name: str, index: int) -> protocol.File:
    given = file.get("name")
    name = given if isinstance(given, str) and given else name
    content, encoding = file["content"], _encoding(file)
    if encoding == "utf8":
        return protocol.File(name=name, content=content)
    try:
        data = bytes.fromhex(content) if encoding == "hex" else b64decode(content, validate=True)
    except (ValueError, binascii.Error) as exc:
        raise _refusal(f"files[{index}].content is not {encoding}") from exc
    return protocol.File(name=name, base64=b64encode(data).decode())


def _limits(asked: _Asked, language: Language, settings: Settings) -> protocol.Limits:
    """Return the limits; build and run share one container, and one time."""
    wall_ms, memory_bytes = settings.wall_s * TO_MS, settings.memory_mb * MIB
    run_ms = asked.number("run_timeout", wall_ms)
    compile_ms = asked.number("compile_timeout", wall_ms)
    cpu_ms = asked.number("run_cpu_time", settings.cpu_s * TO_MS)
    asked.number("compile_cpu_time", settings.cpu_s * TO_MS)
    memory = asked.number("run_memory_limit", memory_bytes)
    asked.number("compile_memory_limit", memory_bytes)
    limits: dict[str, Any] = {}
    if run_ms is not None:
        built_ms = (wall_ms if compile_ms is None else compile_ms) if language.build else 0
        limits["wall_s"] = max(0.1, min(settings.wall_s, (run_ms + built_ms) / TO_MS))
    if cpu_ms is not None:
        limits["cpu_s"] = min(settings.cpu_s, max(1.0, cpu_ms / TO_MS))
    if memory is not None:
        limits["memory_mb"] = max(MEMORY_MIN_MB, math.ceil(memory / MIB))
    return protocol.Limits(**limits)


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
        "signal": (end.signal or "SIGKILL") if failed else None,
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
