"""What a caller gives, as the protocol's messages: text where it is text, base64 where it isn't.

Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import UNSET

from wsrunner import protocol
from wsrunner.units import KIB

STDIN_MESSAGE_BYTES = 64 * KIB


def run_request(
    run_id: str,
    language: str,
    *,
    code: str | None,
    files: Mapping[str, str | bytes] | None,
    stdin: str | None,
    args: Sequence[str],
    env: Mapping[str, str] | None,
    command: str | None,
    limits: Mapping[str, float] | None,
    tty: tuple[int, int] | bool,
    merge: bool,
    outputs: Sequence[str],
    keep_s: float | None = None,
    once: str | None = None,
    waiting: bool = False,
    workspace: str | None = None,
    room: str | None = None,
) -> protocol.RunRequest:
    """Return the request for a run; the arguments are those of `Client.run`.

    Raises:
        ValueError: Not exactly one of `code` and `files`, or an unknown limit.
    """
    if (code is None) == (files is None):
        raise ValueError("give exactly one of code and files")
    if isinstance(tty, bool):
        size = protocol.Tty() if tty else UNSET
    else:
        size = protocol.Tty(columns=tty[0], rows=tty[1])
    return protocol.RunRequest(
        id=run_id,
        language=language,
        code=UNSET if code is None else code,
        files=UNSET if files is None else [_file(*item) for item in files.items()],
        stdin=UNSET if stdin is None else stdin,
        args=list(args),
        env=dict(env or {}),
        command=UNSET if command is None else command,
        limits=_limits(limits or {}),
        tty=size,
        merge=merge,
        keep_s=UNSET if keep_s is None else keep_s,
        once=UNSET if once is None else once,
        outputs=list(outputs),
        waiting=waiting,
        workspace=UNSET if workspace is None else workspace,
        room=UNSET if room is None else room,
    )


def stdin_message(run_id: str, raw: bytes, at: int | None = None) -> protocol.Stdin:
    """Return the message for a piece of stdin, of at most `STDIN_MESSAGE_BYTES`.

    Args:
        run_id: The client's name for the run.
        raw: The bytes.
        at: Where they begin in all that is sent, for a kept run.
    """
    data = text(raw)
    place = UNSET if at is None else at
    if data is not None:
        return protocol.Stdin(id=run_id, data=data, at=place)
    return protocol.Stdin(id=run_id, base64=base64_text(raw), at=place)


def inline_stdin(raw: bytes | None) -> str | None:
    """Return the stdin that can go with the request itself; None if it must be sent after it."""
    return None if raw is None or len(raw) > STDIN_MESSAGE_BYTES else text(raw)


def text(raw: bytes) -> str | None:
    """Return bytes as the text they are; None if they are none."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def chunks(raw: bytes) -> Iterator[bytes]:
    """Cut stdin for messages, not inside a UTF-8 character: text need not travel as base64."""
    start = 0
    while start < len(raw):
        end = min(start + STDIN_MESSAGE_BYTES, len(raw))
        if end < len(raw):
            for back in range(4):  # RFC 3629: a character has at most 4 bytes
                if raw[end - back] & 0xC0 != 0x80:  # noqa: PLR2004 - 10xxxxxx continues one
                    end -= back
                    break
        yield raw[start:end]
        start = end


def base64_text(raw: bytes) -> str:
    """Return bytes as a message has them."""
    return base64.b64encode(raw).decode("ascii")


def _file(name: str, content: str | bytes) -> protocol.File:
    as_text = content if isinstance(content, str) else text(content)
    if as_text is not None:
        return protocol.File(name=name, content=as_text)
    assert isinstance(content, bytes)
    return protocol.File(name=name, base64=base64_text(content))


def _limits(limits: Mapping[str, float]) -> protocol.Limits:
    try:
        return msgspec.convert(dict(limits), protocol.Limits)
    except msgspec.ValidationError as exc:
        raise ValueError(f"limits: {exc}") from exc
