"""What clients of Piston ask, by HTTP and over a socket, and the same in our words.

Owns its checks and their messages, which clients show as they are (github.com/engineer-man/piston,
docs/api-v2.md). Fields that it does not know it skips, and so does this. Pure.
"""

from __future__ import annotations

import binascii
import math
from base64 import b64decode, b64encode
from typing import Any

import msgspec

from wsrunner import protocol
from wsrunner.errors import BadMessageError, UnknownLanguageError
from wsrunner.languages import Catalogue, Language
from wsrunner.runs.events import Exit
from wsrunner.runs.order import MEMORY_MIN_MB
from wsrunner.settings import Settings
from wsrunner.units import MIB

VERSION = "0.0.0"
"""Of every runtime: an image has the one that it has, and does not say which."""
TO_MS = 1000
_ENCODINGS = frozenset({"base64", "hex", "utf8"})


def fields_of(body: str | bytes) -> Any:
    """Return what a body holds.

    Raises:
        BadMessageError: It is no JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise _refusal(f"not JSON: {exc}") from exc


def signal_of(end: Exit) -> str | None:
    """Return the signal that ended a program, as Piston tells it; None if none did."""
    return None if end.reason == "exited" else end.signal or "SIGKILL"


class Asked:
    """A request's fields, checked one after the other as Piston does.

    Raises:
        BadMessageError: One is wrong; the message is Piston's.
    """

    def __init__(self, fields: Any) -> None:
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

    def runtime(self, catalogue: Catalogue) -> Language:
        """Return the language that is asked for.

        Raises:
            BadMessageError: There is none of that name.
        """
        try:
            return catalogue.find(self.language)
        except UnknownLanguageError as exc:
            raise _refusal(f"{self.language[:64]}-{self.version} runtime is unknown") from exc

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


def _refusal(message: str) -> BadMessageError:
    return BadMessageError(message)


def _encoding(file: dict[str, Any]) -> str:
    """Return a file's encoding; Piston takes one that it does not know for utf8."""
    encoding = file.get("encoding")
    return encoding if isinstance(encoding, str) and encoding in _ENCODINGS else "utf8"


def request_of(asked: Asked, language: Language, settings: Settings) -> protocol.RunRequest:
    """Return the same in our words.

    Raises:
        BadMessageError, TooLargeError: It can't be run.
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


def _limits(asked: Asked, language: Language, settings: Settings) -> protocol.Limits:
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
