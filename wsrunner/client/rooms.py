"""A room as this client is in it: who is there, what they run, the updates of their document.

Owns no task. What the server says comes through `take`, what is sent goes through the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

from msgspec import UNSET

from wsrunner import protocol
from wsrunner.client.encoding import base64_text
from wsrunner.client.errors import ConnectionLostError, RunRefusedError
from wsrunner.client.flow import Buffer
from wsrunner.client.happenings import Changed, Happening, happening
from wsrunner.client.keeping import new_once
from wsrunner.units import KIB
from wsrunner.words import rooms as words
from wsrunner.words.rooms import Granted, Person, RoomRun

BUFFER_BYTES = 1024 * KIB
"""What may have happened that nobody took yet; beyond, the client stops reading its socket."""
PATIENCE_S = 300.0
"""For how long a room is worth coming back to."""

Send = Callable[[protocol.ClientMessage], Awaitable[None]]


class RoomKeys(NamedTuple):
    """What opens a room, by what it makes of who comes. Secrets."""

    own: str
    work: str
    watch: str


class Room:
    """A room that this client is in; `Client.open_room` and `Client.join_room` make it.

    ``async for happening in room`` yields a `Document` first and then what happens, until this
    client is in it no more. One task may iterate at a time. `BUFFER_BYTES` are kept for one that is
    slow, as with a `Run`; without `events` nothing is, and nothing comes. After a lost connection
    the client comes back as the same person, and a `Document` comes anew: what was sent at that
    moment, and is not in it or in `people`, is to be sent again.

    Attributes:
        room: The server's name for it; empty until it is known.
        keys: For who has opened it.
        you: Which of the people this client is.
        people: Who is there.
        runs: What was run here and can be read, the newest last.
        newcomers: What the key to work makes of those who come.
        over: Why this client is not in it any more: ``left``, ``closed``,
            ``elsewhere`` or ``lost``.
        failure: Why else it is not.
    """

    def __init__(self, send: Send, request: words.Open | words.Join, *, events: bool) -> None:
        self.room = request.room if isinstance(request, words.Join) else ""
        self.keys: RoomKeys | None = None
        self.you = ""
        self.people: Sequence[Person] = ()
        self.runs: Sequence[RoomRun] = ()
        self.newcomers: Granted = "work"
        self.over: str | None = None
        self.failure: Exception | None = None
        self.answered = asyncio.Event()
        self.buffer: Buffer[Happening] = Buffer(BUFFER_BYTES)
        self.greetings = 0
        self._id = request.id
        self._send = send
        self._request = request
        self._inside = asyncio.Event()
        self._news = asyncio.Event()
        self._complaint: RunRefusedError | None = None
        if not events:
            self.buffer.discard()

    def __repr__(self) -> str:
        state = self.over or ("lost" if self.failure else f"{len(self.people)} people")
        return f"<Room {self.room} {state}>"

    @property
    def id(self) -> str:
        """This client's name for it."""
        assert self._id is not UNSET
        return self._id

    @property
    def me(self) -> Person | None:
        """This client among the people."""
        return next((each for each in self.people if each.person == self.you), None)

    @property
    def works(self) -> bool:
        """Whether this client may edit, run, and type into the room's runs."""
        return self.me is not None and self.me.role != "watch"

    @property
    def is_inside(self) -> bool:
        """Whether this client is in it now."""
        return self._inside.is_set() and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.over is not None or self.failure is not None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Happening:
        """Return what happens next.

        Raises:
            RunRefusedError: The server refused something that was sent; the room goes on, and so
                may the iteration, unless `failure` is set.
            ConnectionLostError: The connection is gone, and coming back failed.

        Cancelling is safe: nothing is lost.
        """
        while not self.buffer:
            if self._complaint is not None:
                complaint, self._complaint = self._complaint, None
                raise complaint
            if self.failure is not None:
                raise self.failure
            if self.over is not None:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self.buffer.take()

    # Each of these waits while the client comes back, does nothing once this client has left, and
    # raises what `failure` is, if it is lost. What is refused is told by the iteration. Cancelling
    # is safe: it was sent or it was not.

    async def update(self, data: bytes, *, replaces: int | None = None) -> None:
        """Send a change of the document, of at most 64 KiB.

        Args:
            data: Its bytes.
            replaces: In answer to a `Compact`: the `seq` up to which it stands for all.
        """
        place = UNSET if replaces is None else replaces
        await self._say(words.Update(id=self._id, base64=base64_text(data), replaces=place))

    async def awareness(self, data: bytes) -> None:
        """Tell the others where this person is, in at most 4 KiB."""
        await self._say(words.Awareness(id=self._id, base64=base64_text(data)))

    async def hand(self, *, up: bool = True) -> None:
        """Raise the hand, or take it down."""
        await self._say(words.Hand(id=self._id, up=up))

    async def grant(self, role: Granted, person: str | None = None) -> None:
        """Let somebody work (edit, run, type) or only watch; the owner's to say.

        Args:
            role: ``work`` or ``watch``.
            person: Who; None for all who do not own the room, and those who come.
        """
        whom = UNSET if person is None else person
        await self._say(words.Grant(id=self._id, role=role, person=whom))

    async def leave(self) -> None:
        """Leave; the room goes on. The iteration ends when the server has answered."""
        await self._say(words.Leave(id=self._id))

    async def close(self) -> None:
        """End the room for everybody; the owner's to say."""
        await self._say(words.Close(id=self._id))

    async def _say(self, message: words.RoomMessage) -> None:
        await self._inside.wait()
        if self.failure is not None:
            raise self.failure
        if self.over is None:
            # If it is lost, so is the connection: then the document comes anew, and tells.
            with suppress(ConnectionLostError):
                await self._send(message)

    # For the client alone.

    @property
    def can_come_back(self) -> bool:
        """Whether it is known by what: a room that may have been opened is not opened again."""
        return self.keys is not None or isinstance(self._request, words.Join)

    def greeting(self) -> words.Open | words.Join:
        """Return what to say on a new socket."""
        self.greetings += 1
        if self.keys is None:
            return self._request
        return words.Join(
            id=self._id,
            room=self.room,
            key=self.keys.own,
            name=self._request.name,
            once=self._request.once,
        )

    def take(self, event: protocol.ServerMessage) -> bool:
        """Take what the server says; tell whether the buffer is full now."""
        match event:
            case words.Opened():
                self.room = event.room
                self.keys = RoomKeys(event.own, event.work, event.watch)
            case words.Joined():
                self.you = event.you
                self._look(event.now)
                self.answered.set()
                self._inside.set()
            case words.RoomNow():
                self._look(event)
                if isinstance(self.buffer.last, Changed):
                    return False
            case words.Left():
                self._end(over=event.reason)
        told = happening(event)
        full = told is not None and self.buffer.put(*told)
        self._news.set()
        return full

    def _look(self, now: words.RoomNow) -> None:
        self.people, self.runs, self.newcomers = now.people, now.runs, now.newcomers

    def refuse(self, error: RunRefusedError) -> None:
        """Keep what the server refused, for who next looks."""
        self._complaint = error
        self._news.set()

    def away(self) -> None:
        """Hear that this client is not in it just now."""
        self._inside.clear()

    def fail(self, error: Exception) -> None:
        """End it here."""
        self._end(failure=error)

    def _end(self, over: str | None = None, failure: Exception | None = None) -> None:
        self.over, self.failure = over, failure
        self.buffer.end()
        for event in (self.answered, self._inside, self._news):
            event.set()


def opening(id: str, name: str) -> words.Open:  # noqa: A002
    """Return the request for a new room."""
    return words.Open(id=id, name=name, once=new_once())


def joining(id: str, room: str, key: str, name: str, once: str | None) -> words.Join:  # noqa: A002
    """Return the request to come into a room."""
    return words.Join(id=id, room=room, key=key, name=name, once=once or new_once())
