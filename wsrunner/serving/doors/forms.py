"""A run's request as a form with files (``multipart/form-data``, RFC 7578): what ``curl -F`` sends.

Owns the fields' names. The body has been read, and is within bounds.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import UNSET

from wsrunner import protocol
from wsrunner.errors import BadMessageError, TooLargeError

FORM = "multipart/form-data"
PARTS_MAX = protocol.FILES_MAX + protocol.ARGS_MAX + 8
_ONCE = ("language", "code", "stdin", "command", "workspace")


async def request_of_form(request: web.BaseRequest, body: bytes) -> protocol.PostedRun:
    """Return what a form asks for.

    Args:
        request: Whose body it is; its headers say where the parts are.
        body: All of it.

    Raises:
        BadMessageError: It is no form, or a field makes no sense.
        TooLargeError: More parts, or more in one, than goes.
    """
    texts: dict[str, str] = {}
    args: list[str] = []
    files: list[protocol.File] = []
    for name, filename, data in await _parts(request, body):
        if name == "file":
            if not filename:
                raise BadMessageError("a file has no name", path="$.file")
            files.append(protocol.File(name=filename, base64=b64encode(data).decode()))
        elif name == "arg":
            args.append(_text(name, data))
        elif name in _ONCE and name not in texts:
            texts[name] = _text(name, data)
        else:
            known = ", ".join((*_ONCE, "arg", "file"))
            raise BadMessageError(
                f"the field {name[: protocol.QUOTED_MAX]!r} is given twice, or is none of {known}",
                path="$",
            )
    if "language" not in texts:
        raise BadMessageError("the field language is missing", path="$.language")
    asked = protocol.PostedRun(
        language=texts["language"],
        code=texts.get("code", UNSET),
        files=files or UNSET,
        stdin=texts.get("stdin", ""),
        args=args,
        command=texts.get("command", UNSET),
        workspace=texts.get("workspace", UNSET),
    )
    protocol.check_run(asked)
    return asked


async def _parts(request: web.BaseRequest, body: bytes) -> list[tuple[str, str, bytes]]:
    """Return each part's name, file name and content."""
    # All of it is there, so that nobody is ever told to pause.
    stream = StreamReader(BaseProtocol(asyncio.get_running_loop()), limit=2 * len(body) + 1)
    stream.feed_data(body)
    stream.feed_eof()
    found: list[tuple[str, str, bytes]] = []
    try:
        reader = MultipartReader(request.headers, stream)
        while (part := await reader.next()) is not None:
            if len(found) == PARTS_MAX:
                raise TooLargeError(f"more than {PARTS_MAX} parts")
            if not isinstance(part, BodyPartReader):
                raise BadMessageError("a part of the form has parts of its own", path="$")
            found.append((part.name or "", part.filename or "", bytes(await part.read())))
    except (ValueError, RuntimeError, EOFError, HttpProcessingError) as exc:
        reason = (str(exc).splitlines() or [""])[-1].strip()[: protocol.QUOTED_MAX]
        raise BadMessageError(f"not a form: {reason}", path="$") from exc
    return found


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise BadMessageError(f"not UTF-8: byte {exc.start}", path=f"$.{name}") from exc
