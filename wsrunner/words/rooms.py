"""The words of rooms: what their people send, and what they are told.

What a document update holds is the clients' own business: the server passes it on.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from wsrunner.words.base import Count, Event, Key, Once, Request, RunId, ServerRunId

Role = Literal["own", "work", "watch"]
Granted = Literal["work", "watch"]
PersonId = Annotated[str, Meta(min_length=1, max_length=64)]
PersonName = Annotated[str, Meta(max_length=40)]


class Open(Request, tag="open", kw_only=True, frozen=True):
    """Open a room, and be its owner in it.

    Attributes:
        id: The client's own name for the room on this socket.
        name: What the others call this person.
        once: The client's own random name for itself: under it, it comes back as the same person.
    """

    id: RunId | UnsetType = UNSET
    name: PersonName = ""
    once: Once | UnsetType = UNSET


class Join(Request, tag="join", kw_only=True, frozen=True):
    """Come into a room; the key says as what. See `Open`."""

    id: RunId | UnsetType = UNSET
    room: ServerRunId
    key: Key
    name: PersonName = ""
    once: Once | UnsetType = UNSET


class Leave(Request, tag="leave", kw_only=True, frozen=True):
    """Leave a room, which goes on."""

    id: RunId | UnsetType = UNSET


class Close(Request, tag="close", kw_only=True, frozen=True):
    """End a room for everybody; its owner's to say."""

    id: RunId | UnsetType = UNSET


class Update(Request, tag="update", kw_only=True, frozen=True):
    """A change of the document.

    Attributes:
        base64: Its bytes, which the server does not look into.
        replaces: Where it is the answer to `compact`: the `seq` up to which it stands for all that
            came before.
    """

    id: RunId | UnsetType = UNSET
    base64: str
    replaces: Count | UnsetType = UNSET


class Awareness(Request, tag="awareness", kw_only=True, frozen=True):
    """Where this person's caret is, say: passed on, the last one kept while the person is there."""

    id: RunId | UnsetType = UNSET
    base64: str


class Hand(Request, tag="hand", kw_only=True, frozen=True):
    """Raise the hand, or take it down."""

    id: RunId | UnsetType = UNSET
    up: bool = True


class Grant(Request, tag="grant", kw_only=True, frozen=True):
    """Let somebody work (edit the document) or only watch; the owner's to say.

    Attributes:
        person: Who; left out, all who do not own the room, and those who come later.
    """

    id: RunId | UnsetType = UNSET
    person: PersonId | UnsetType = UNSET
    role: Granted


RoomMessage = Open | Join | Leave | Close | Update | Awareness | Hand | Grant


class Person(msgspec.Struct, kw_only=True, frozen=True):
    """Somebody who is in a room.

    Attributes:
        person: The server's name for them.
        name: Their own; may be empty.
        role: Whether they own the room, work in it or watch.
        number: From 0, unlike that of anybody else there: for a colour.
        hand: Whether they have raised it.
    """

    person: str
    name: str
    role: Role
    number: int
    hand: bool = False


class RoomRun(msgspec.Struct, kw_only=True, frozen=True):
    """A run that was started in a room; who is there may attach to it.

    Attributes:
        run: The server's name for it.
        person: Who started it.
        name: What they were called then.
        language: In what.
        over: Whether it has ended.
    """

    run: str
    person: str
    name: str
    language: str
    over: bool = False


class Opened(Event, tag="opened", kw_only=True, frozen=True):
    """A room is there. Its three keys let others own it, work in it and watch: secrets."""

    room: str
    own: str
    work: str
    watch: str


class RoomNow(Event, tag="room", kw_only=True, frozen=True):
    """What a room is now; told whenever that has changed.

    Attributes:
        people: Who is there, in the order of their numbers.
        newcomers: What a key to work makes of those who come.
        runs: What was run in it and can be read, the newest last.
    """

    room: str
    people: list[Person]
    newcomers: Granted
    runs: list[RoomRun] = []  # noqa: RUF012


class Joined(Event, tag="joined", kw_only=True, frozen=True):
    """This client is in a room; told once more, with all there is, where it fell behind.

    Attributes:
        you: The person that it is.
        now: What the room is.
        seq: The number of the last update.
        updates: The document: to be applied in this order, each by itself.
        awareness: The last one of each person, in base64.
    """

    room: str
    you: str
    now: RoomNow
    seq: int
    updates: list[str]
    awareness: dict[str, str]


class Updated(Event, tag="update", kw_only=True, frozen=True):
    """The document has changed; without `base64` it is this client's own change that has come."""

    room: str
    seq: int
    person: str
    base64: str | UnsetType = UNSET


class Aware(Event, tag="awareness", kw_only=True, frozen=True):
    """Somebody's caret."""

    room: str
    person: str
    base64: str


class Typed(Event, tag="typed", kw_only=True, frozen=True):
    """Somebody types into a run of the room; what is not told."""

    room: str
    run: str
    person: str


class Compact(Event, tag="compact", kw_only=True, frozen=True):
    """Please send the whole document as one update that `replaces` this `seq`."""

    room: str
    seq: int


class Left(Event, tag="left", kw_only=True, frozen=True):
    """Nothing more is told of a room.

    `reason`: ``left``, ``closed`` (by its owner or an operator), ``elsewhere`` (the same person has
    joined on another socket), or ``lost`` (the room moved to another server, which, as an error
    before says, has no place for this person).
    """

    room: str
    reason: str


RoomTold = Opened | Joined | RoomNow | Updated | Aware | Typed | Compact | Left
