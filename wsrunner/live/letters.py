"""What replicas write to each other: events of runs, and letters between seats and runs.

Owns both forms, in MessagePack. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from wsrunner import errors
from wsrunner.errors import WsrunnerError
from wsrunner.live.journal import Entry, Lasting
from wsrunner.live.show import Record
from wsrunner.runs.events import Exit, File, LeftOut, Output, Queued, Refused, Started, Waiting

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

UNKNOWN_BYTES = -1
"""In place of the output bytes before an event, for who adds it without knowing them."""


BEHIND_ALL = -1
"""In place of where stdin begins: behind all that has come."""


class Letter(msgspec.Struct, array_like=True, frozen=True):
    """From one replica to another.

    Attributes:
        kind: From a seat to its run: ``join``, ``here`` (so far it has come), ``leave``, ``stdin``,
            ``eof``, ``signal``, ``resize``, ``cancel``, ``judge`` (say when all before it has been
            judged). Back: ``joined``, ``drained``, ``error``, ``judged``, ``gone`` (the run knows
            no such seat, or not all that it sent). ``wake`` says nothing.
        run: The run's id.
        seat: The seat's.
        number: ``join``, ``here``: number of the last event it has; ``stdin``: where it begins,
            or `BEHIND_ALL`; ``joined``: stdin taken; ``drained``: bytes; ``resize``: columns;
            ``error``: bytes of stdin that were refused with it.
        second: ``joined``: ends of file; ``resize``: rows.
        text: ``join``: the lane; ``signal``: its name; ``error``: the code.
        more: From a seat: the replica to answer; ``error``: the message.
        path: ``error``: the place.
        data: ``stdin``: the bytes.
        turn: Which of those of its seat it is that do something, from 1; of ``here``, how many
            there were. So what is sent again is not done again, and what got lost is missed.
    """

    kind: str
    run: str = ""
    seat: str = ""
    number: int = 0
    second: int = 0
    text: str = ""
    more: str = ""
    path: str = ""
    data: bytes = b""
    turn: int = 0


_letters = msgspec.msgpack.Decoder(Letter)


def pack_letter(letter: Letter) -> bytes:
    """Return a letter's content."""
    return _encode(letter)


def unpack_letter(content: bytes) -> Letter:
    """Return the letter of a content."""
    return _letters.decode(content)


def error_letter(letter: Letter, error: WsrunnerError) -> Letter:
    """Return the letter that tells a seat what was wrong with one of its."""
    return Letter(
        "error",
        letter.run,
        letter.seat,
        number=len(letter.data),
        text=error.code,
        more=error.message,
        path=error.path or "",
    )


def error_of(
    code: str, message: str, path: str | None, retry_after_s: float | None = None
) -> WsrunnerError:
    """Return the error that was told by another replica."""
    kind = _KINDS.get(code, WsrunnerError)
    return kind(message, path=path or None, retry_after_s=retry_after_s)


_KINDS: dict[str, type[WsrunnerError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, WsrunnerError)
}


class Publication(NamedTuple):
    """What is new of one run.

    Attributes:
        record: The run's.
        life_s: How long it stays if nothing comes any more.
        from_seq: Events before this one are given up.
        frees_once: Whether its request may begin another run.
        events: (id, mark, content) of each.
    """

    record: Record
    life_s: float
    from_seq: int
    frees_once: bool
    events: Sequence[tuple[str, str, bytes]]


class Told(NamedTuple):
    """An event as it comes from another replica.

    Attributes:
        event: What happened; its own number says nothing.
        before_bytes: Output bytes before it; None where who added it did not know.
    """

    event: Lasting | Queued
    before_bytes: int | None


def pack_entry(  # noqa: PLR0911 - one for each kind of event
    entry: Entry,
) -> tuple[str, bytes]:
    """Return an event's mark (``x`` for a run's end, else ``e``) and content."""
    event, before = entry.event, entry.before_bytes
    match event:
        case Output(_, stream, data):
            return "e", _encode((before, "output", stream, data))
        case Waiting():
            return "e", _encode((before, "waiting"))
        case File():
            return "e", _encode((before, "file", *event[1:]))
        case LeftOut():
            return "e", _encode((before, "left_out", *event[1:]))
        case Started():
            return "e", _encode((before, "started", *event[1:]))
        case Exit():
            return "x", _encode((before, "exit", *event[1:]))
        case Refused(error):
            told = (error.code, error.message, error.path, error.retry_after_s)
            return "x", _encode((before, "refused", *told))


def pack_queued(queued: Queued) -> bytes:
    """Return the content of a place in the queue."""
    return _encode((0, "queued", *queued))


def pack_lost() -> bytes:
    """Return the content of the end of a run whose replica is gone."""
    ended = Exit(0, "run", "replica_lost", None, None, 0.0, 0.0, None, None, 0, False)
    return _encode((UNKNOWN_BYTES, "exit", *ended[1:]))


def unpack_event(content: bytes) -> Told:
    """Return the event of a content."""
    before, kind, *fields = _decode(content)
    return Told(_event(kind, fields), None if before == UNKNOWN_BYTES else before)


def _event(  # noqa: PLR0911 - one for each kind of event
    kind: str, fields: list[Any]
) -> Lasting | Queued:
    match kind:
        case "output":
            return Output(0, *fields)
        case "file":
            return File(0, *fields)
        case "left_out":
            return LeftOut(0, *fields)
        case "started":
            return Started(0, *fields)
        case "waiting":
            return Waiting(0)
        case "queued":
            return Queued(*fields)
        case "refused":
            return Refused(error_of(*fields))
    return Exit(0, *fields)
