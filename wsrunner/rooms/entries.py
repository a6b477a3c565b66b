"""What happens in a room, what is asked of it, and how replicas write both to each other.

::

    entries   what was decided: every replica applies them in the same order
    orders    what a seat asks for: the room's home decides
    letters   from replica to replica: orders, and what came of them

Owns their form, in MessagePack. Pure.
"""

from __future__ import annotations

import msgspec

from wsrunner.words import rooms as words


class Struct(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """Base of them all."""


class Sitting(msgspec.Struct, array_like=True, frozen=True):
    """Somebody who is in a room, and where.

    Attributes:
        person: Who.
        seat: The id of their seat.
        replica: The one that their socket is on.
        watches_only: Whether their token lets them do nothing else, whatever the role.
    """

    person: words.Person
    seat: str
    replica: str
    watches_only: bool = False


class RunThere(msgspec.Struct, array_like=True, frozen=True):
    """A run of a room, and the replica that carries it out."""

    run: words.RoomRun
    replica: str


# Entries.


class Came(Struct, frozen=True):
    """Somebody sits down; who sat under the same name before sits there no more."""

    sitting: Sitting


class Went(Struct, frozen=True):
    """Somebody has left a seat."""

    person: str
    seat: str


class Changed(Struct, frozen=True):
    """What is known of somebody who is there is another."""

    person: words.Person


class Newcomers(Struct, frozen=True):
    """What a key to work makes of those who come, and of all who are there or were."""

    role: words.Granted


class Began(Struct, frozen=True):
    """Somebody has started a run."""

    run: RunThere


class Ended(Struct, frozen=True):
    """A run is over; whether what it printed can be read still."""

    run: str
    readable: bool


class Added(Struct, frozen=True):
    """An update of the document; it gets the next `seq`."""

    person: str
    data: bytes


class Compacted(Struct, frozen=True):
    """An update that stands for all up to a `seq`."""

    replaces: int
    data: bytes


class Asked(Struct, frozen=True):
    """Somebody is asked for such a one up to a `seq`; nobody, if `person` is empty."""

    person: str
    seq: int


class Caret(Struct, frozen=True):
    """Where somebody is."""

    person: str
    data: bytes


class Typing(Struct, frozen=True):
    """Somebody types into a run."""

    person: str
    run: str


class Closed(Struct, frozen=True):
    """The room is over."""

    reason: str


class Whole(Struct, frozen=True):
    """All that a room is: the entries before are needed no more.

    Attributes:
        home: The replica that decides what becomes of it.
        people: Who is there.
        gone: Who was, and is known still.
        newcomers: See `Newcomers`.
        runs: Which there are, the newest last.
        seq: The number of the last update.
        log: The document: (seq, update).
        carets: By person.
        asked: See `Asked`.
    """

    home: str
    people: list[Sitting]
    gone: list[words.Person]
    newcomers: words.Granted
    runs: list[RunThere]
    seq: int
    log: list[tuple[int, bytes]]
    carets: dict[str, bytes]
    asked: tuple[str, int] | None


Entry = (
    Came
    | Went
    | Changed
    | Newcomers
    | Began
    | Ended
    | Added
    | Compacted
    | Asked
    | Caret
    | Typing
    | Closed
    | Whole
)


# Orders: what is asked of a room's home, by a seat.


class Sit(Struct, frozen=True):
    """Let somebody in, as what their key makes of them.

    Attributes:
        role: What it does.
        name: What the others call them.
        watches_only: See `Sitting`.
        again: Whether it is asked once more: then nobody has to go for it who has come since, as
            the same person.
    """

    role: words.Role
    name: str
    watches_only: bool
    again: bool


class Leave(Struct, frozen=True):
    """Give the seat up."""


class Update(Struct, frozen=True):
    """Change the document; see `words.Update`."""

    data: bytes
    replaces: int | None


class Awareness(Struct, frozen=True):
    """Tell where this person is."""

    data: bytes


class Hand(Struct, frozen=True):
    """Raise the hand, or take it down."""

    up: bool


class Grant(Struct, frozen=True):
    """Say what somebody may do; None for all but owners."""

    person: str | None
    role: words.Granted


class Begin(Struct, frozen=True):
    """Tell of a run that this person has started; may be told again."""

    run: str
    language: str


class Type(Struct, frozen=True):
    """Tell that this person types into a run."""

    run: str


class Close(Struct, frozen=True):
    """End the room for everybody."""


Order = Sit | Leave | Update | Awareness | Hand | Grant | Begin | Type | Close


# Letters between a seat's replica and a room's home.


class Asks(Struct, frozen=True):
    """A seat's order.

    Attributes:
        room: Which.
        replica: The seat's.
        seat: Its id.
        person: Whose it is.
        turn: Which of the seat's orders it is, from 1: so what is sent again is not done again,
            and what got lost is missed.
        order: What is to be done.
    """

    room: str
    replica: str
    seat: str
    person: str
    turn: int
    order: Order


class Here(Struct, frozen=True):
    """Who sits on a replica; by seat, how many orders it has given."""

    room: str
    replica: str
    turns: dict[str, int]


class RunOver(Struct, frozen=True):
    """A run of a room is over, on the replica that carried it out."""

    room: str
    run: str
    readable: bool


class Refused(Struct, frozen=True):
    """An order of a seat can't be done, or the seat can't be had; as an error of the protocol."""

    room: str
    seat: str
    is_seat: bool
    code: str
    message: str
    path: str
    retry_after_s: float | None


class Unknown(Struct, frozen=True):
    """A room's home does not know a seat, or not all that it ordered: its replica has to look."""

    room: str


class Vacant(Struct, frozen=True):
    """A room has no home any more, which was on this replica."""

    room: str
    replica: str


class Wake(Struct, frozen=True):
    """Says nothing: a replica's own reader looks again what there is to read."""


Letter = Asks | Here | RunOver | Refused | Unknown | Vacant | Wake

pack = msgspec.msgpack.Encoder().encode
unpack_entry = msgspec.msgpack.Decoder(Entry).decode
unpack_letter = msgspec.msgpack.Decoder(Letter).decode
