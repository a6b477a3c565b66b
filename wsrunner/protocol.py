"""The vocabulary on the wire, v1: every message decoded and encoded, here only.

The messages themselves are in `words`, by who says them; here they are all at hand under one name.
Owns the JSON shapes of ``docs/protocol.md`` with them. Pure: no I/O, no clock. Imports only
`errors` and `words`.
"""

from __future__ import annotations

import math
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from wsrunner.errors import BadMessageError, TooLargeError, WsrunnerError
from wsrunner.words.base import SPACE_NAME, Event, Reason, RunId, Signal, Stage
from wsrunner.words.checks import ARGS_MAX, FILES_MAX, check_run
from wsrunner.words.content import QUOTED_MAX, content_bytes, output_payload, quoted
from wsrunner.words.events import (
    Accepted,
    Attached,
    Detached,
    Drained,
    Error,
    Exit,
    Forgotten,
    Gap,
    LeftOut,
    OutputFile,
    Queued,
    Result,
    ResultFile,
    ResultLeftOut,
    RunTold,
    Started,
    Stderr,
    Stdout,
    Waiting,
)
from wsrunner.words.requests import (
    Attach,
    Callback,
    Cancel,
    Detach,
    Eof,
    File,
    Forget,
    Limits,
    PostedRun,
    Resize,
    RunMessage,
    RunRequest,
    SendSignal,
    Stdin,
    Tty,
)
from wsrunner.words.rooms import RoomMessage, RoomTold

T = TypeVar("T")

SUBPROTOCOL = "wsrunner.v1"
TOKEN_SUBPROTOCOL_PREFIX = "wsrunner.token."  # noqa: S105 - a prefix, not a token
CLOSE_SLOW_CLIENT = 4408
"""Close code for a client that takes no output (4000-4999: RFC 6455 section 7.4.2)."""

__all__ = [
    "ARGS_MAX",
    "CLOSE_SLOW_CLIENT",
    "FILES_MAX",
    "POST_EXAMPLE",
    "QUOTED_MAX",
    "SOCKET_EXAMPLE",
    "SPACE_NAME",
    "SUBPROTOCOL",
    "TOKEN_SUBPROTOCOL_PREFIX",
    "Accepted",
    "Attach",
    "Attached",
    "Callback",
    "Cancel",
    "ClientMessage",
    "Detach",
    "Detached",
    "Drained",
    "Eof",
    "Error",
    "Exit",
    "File",
    "Forget",
    "Forgotten",
    "Gap",
    "LeftOut",
    "Limits",
    "OutputFile",
    "PostedRun",
    "Queued",
    "Reason",
    "Resize",
    "Result",
    "ResultFile",
    "ResultLeftOut",
    "RunRequest",
    "SendSignal",
    "ServerMessage",
    "Signal",
    "Stage",
    "Started",
    "Stderr",
    "Stdin",
    "Stdout",
    "Tty",
    "Waiting",
    "check_run",
    "content_bytes",
    "decode",
    "decode_as",
    "decode_run",
    "decode_server",
    "encode",
    "encode_request",
    "error_event",
    "output_payload",
    "salvage_id",
]


class _OnlyId(msgspec.Struct):
    """Reads the id and skips the rest, however much it is."""

    id: RunId | UnsetType = UNSET


ClientMessage = RunMessage | RoomMessage
ServerMessage = RunTold | RoomTold

_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_run_decoder = msgspec.json.Decoder(PostedRun)
_id_decoder = msgspec.json.Decoder(_OnlyId)
_encoder = msgspec.json.Encoder()
_server_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)
SOCKET_EXAMPLE = '{"type":"run","language":"python","code":"…"}'
POST_EXAMPLE = '{"language":"python","code":"…"}'


def decode(message: str | bytes, *, max_bytes: int) -> ClientMessage:
    """Decode and check one client message.

    Args:
        message: Text, or binary that holds the same JSON in UTF-8.
        max_bytes: Largest size taken, in bytes of UTF-8.

    Raises:
        TooLargeError: More than `max_bytes`, or too many files, or an argument, variable or command
            that is too long.
        BadMessageError: Anything else that is wrong with it; `path` names the place.
    """
    decoded = decode_as(message, _decoder, max_bytes)
    if isinstance(decoded, RunRequest):
        check_run(decoded)
    elif isinstance(decoded, Stdin) and (decoded.data is UNSET) == (decoded.base64 is UNSET):
        raise BadMessageError("give exactly one of data and base64", path="$.data")
    elif isinstance(decoded, Attach) and (decoded.key is UNSET) == (decoded.room is UNSET):
        raise BadMessageError("give exactly one of key and room", path="$.key")
    return decoded


def decode_run(message: bytes, *, max_bytes: int) -> PostedRun:
    """Decode and check a request by HTTP to run something, whose ``type`` need not be given.

    Raises:
        TooLargeError, BadMessageError: See `decode`.
    """
    request = decode_as(message, _run_decoder, max_bytes, POST_EXAMPLE)
    check_run(request)
    if request.room is not UNSET:
        raise BadMessageError("a room's runs are started over its people's sockets", path="$.room")
    return request


def decode_as(
    message: str | bytes,
    decoder: msgspec.json.Decoder[T],
    max_bytes: int,
    example: str = SOCKET_EXAMPLE,
) -> T:
    """Decode what a decoder takes.

    Args:
        message: See `decode`.
        decoder: The decoder.
        max_bytes: See `decode`.
        example: What might have been sent, for whoever sends no JSON.

    Raises:
        TooLargeError, BadMessageError: See `decode`.
    """
    data = message.encode() if isinstance(message, str) else message
    if len(data) > max_bytes:
        raise TooLargeError(f"the message has {len(data)} bytes; the limit is {max_bytes} bytes")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as exc:
        reason, _, path = str(exc).partition(" - at ")
        raise BadMessageError(
            quoted(_readable(reason)), path=quoted(path.strip("`")) or "$"
        ) from exc
    except msgspec.DecodeError as exc:
        raise BadMessageError(
            f"not JSON: {exc}; expected one JSON object such as {example}", path="$"
        ) from exc
    except UnicodeDecodeError as exc:
        raise BadMessageError(f"not UTF-8: byte {exc.start} of a string", path="$") from exc
    except RecursionError as exc:
        raise BadMessageError("nested too deeply", path="$") from exc


def salvage_id(message: str | bytes) -> str | UnsetType:
    """Return the ``id`` of a message that `decode` refused, if one can be made out.

    So that the error names the run it is about.
    """
    try:
        return _id_decoder.decode(message).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return UNSET


def encode(event: Event) -> bytes:
    """Encode one server message as JSON in UTF-8; optional fields that are unset do not appear."""
    return _encoder.encode(event)


def decode_server(message: str | bytes) -> ServerMessage | None:
    """Decode one server message for a client; None for a type this version doesn't know.

    Raises:
        BadMessageError: Not a message of this protocol.
    """
    try:
        return _server_decoder.decode(message)
    except msgspec.ValidationError as exc:
        if str(exc).startswith("Invalid value '") and str(exc).endswith("`$.type`"):
            return None
        raise BadMessageError(f"not a message of wsrunner: {exc}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadMessageError(f"not a message of wsrunner: {exc}") from exc


def encode_request(request: ClientMessage) -> str:
    """Encode one client message as JSON text."""
    return _encoder.encode(request).decode()


def error_event(error: WsrunnerError, id: str | UnsetType = UNSET) -> Error:  # noqa: A002
    """Turn an error into the message that tells the client."""
    wait_s = error.retry_after_s
    return Error(
        id=id,
        code=error.code,
        message=error.message,
        path=UNSET if error.path is None else error.path,
        # Rounded up: who waits for that long has waited long enough, and never 0 s.
        retry_after_s=UNSET if wait_s is None else math.ceil(wait_s * 1000) / 1000,
    )


def _readable(reason: str) -> str:
    """Lower the first letter, as these are parts of sentences elsewhere."""
    return reason[:1].lower() + reason[1:]
