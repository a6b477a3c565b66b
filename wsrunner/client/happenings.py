"""What happens in a room, as its client gives it to who iterates over it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import UNSET

from wsrunner import protocol
from wsrunner.words import rooms as words


class Document(NamedTuple):
    """The document, whole: at first, and again where this client fell behind or came back.

    Attributes:
        seq: Number of the last update in it.
        updates: To be applied in this order, each by itself.
        awareness: The last one of each person.
    """

    seq: int
    updates: Sequence[bytes]
    awareness: Mapping[str, bytes]


class Update(NamedTuple):
    """A change of the document.

    Attributes:
        seq: Its number.
        person: Whose.
        data: Its bytes; None where it is this client's own, which has come.
    """

    seq: int
    person: str
    data: bytes | None


class Awareness(NamedTuple):
    """Where somebody is: their caret, say."""

    person: str
    data: bytes


class Typed(NamedTuple):
    """Somebody types into a run of the room."""

    person: str
    run: str


class Compact(NamedTuple):
    """Please send the document as one update that `replaces` this `seq`; see `Room.update`."""

    seq: int


class Changed(NamedTuple):
    """People, roles, hands or runs are others now: `Room.people`, `Room.runs`."""


Happening = Document | Update | Awareness | Typed | Compact | Changed


def happening(event: protocol.ServerMessage) -> tuple[Happening, int] | None:  # noqa: PLR0911 - a flat table
    """Return what a message tells, and how many bytes that takes; None where it is nothing new."""
    match event:
        case words.Joined():
            updates = [_bytes(text) for text in event.updates]
            awareness = {person: _bytes(text) for person, text in event.awareness.items()}
            size = sum(map(len, updates)) + sum(map(len, awareness.values()))
            return Document(event.seq, updates, awareness), size
        case words.Updated():
            data = None if event.base64 is UNSET else _bytes(event.base64)
            return Update(event.seq, event.person, data), len(data or b"")
        case words.Aware():
            data = _bytes(event.base64)
            return Awareness(event.person, data), len(data)
        case words.Typed():
            return Typed(event.person, event.run), 0
        case words.Compact():
            return Compact(event.seq), 0
        case words.RoomNow():
            return Changed(), 0
    return None


def _bytes(text: str) -> bytes:
    return protocol.content_bytes(UNSET, text, "$")
