"""What goes on over a client's connection: its runs and rooms, and which of them hears what.

Owns which message means which run or room, and what is said of each on a new connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from msgspec import UNSET

from wsrunner import protocol
from wsrunner.client.connection import Connection
from wsrunner.client.course import Course
from wsrunner.client.errors import CLOSE_TOO_BIG, ConnectionLostError, RunRefusedError
from wsrunner.client.flow import Buffer
from wsrunner.client.link import Link
from wsrunner.client.rooms import PATIENCE_S, Room
from wsrunner.client.run import Run
from wsrunner.protocol import Exit
from wsrunner.words import rooms as words

LEFT_CODES = frozenset({"gate_unavailable", "kept_full", "internal"})
"""Errors that end an attachment to a run that goes on, or keep it from coming about again."""
AGAIN_S = 0.5
"""Pause before what such an error has ended is tried again."""


class Board:
    """The runs and rooms of one client.

    Args:
        connect: Opens a connection to the server.
        on_message: Called with every server message as it came.

    Attributes:
        link: The way to the server.
        courses: The runs that go on, by this client's name.
        rooms: The rooms that it is in, likewise.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        on_message: Callable[[str | bytes], None] | None,
    ) -> None:
        self.link = Link(self, connect)
        self.courses: dict[str, Course] = {}
        self.rooms: dict[str, Room] = {}
        self._on_message = on_message
        self._count = 0

    def new_id(self) -> str:
        """Return a name for the next run or room."""
        self._count += 1
        return f"r{self._count}"

    async def begin(self, course: Course, request: protocol.ClientMessage) -> Run:
        """Send what begins a run here, and wait until the server answered it.

        Raises:
            RunRefusedError, ConnectionLostError: See `run`.
        """
        message = protocol.encode_request(request)
        await self.link.ready()
        self.courses[course.id] = course
        try:
            if not self._is_put_off(course):
                await self._try(message, course)
            await course.answered.wait()
        except asyncio.CancelledError:
            self.abandon(course.id)
            raise
        failure = course.failure
        if isinstance(failure, ConnectionLostError) and failure.close_code == CLOSE_TOO_BIG:
            size_kib = len(message.encode()) / 1024
            raise RunRefusedError(
                f"the request has {size_kib:.0f} KiB, which is more than the server takes",
                code="too_large",
            ) from failure
        if failure is not None:
            raise failure
        return Run(self.send, course)

    def _is_put_off(self, course: Course) -> bool:
        """Tell whether a run is begun only when this client is back in its room, and note it."""
        keeping = course.keeping
        if keeping is None or keeping.room is None:
            return False
        own = [room for room in self.rooms.values() if room.room == keeping.room]
        keeping.is_away = bool(own) and not any(room.is_inside for room in own)
        return keeping.is_away

    async def enter(self, room: Room) -> Room:
        """Come into a room, and return it when the server has let this client in.

        Raises:
            RunRefusedError, ConnectionLostError: See `Client.join_room`.
        """
        await self.link.ready()
        self.rooms[room.id] = room
        try:
            await self._greet_room(room)
            await room.answered.wait()
        except asyncio.CancelledError:
            self.rooms.pop(room.id, None)
            self.link.spawn(self._send_last(words.Leave(id=room.id)))
            raise
        if room.failure is not None:
            raise room.failure
        return room

    async def _greet_room(self, room: Room, after_s: float = 0.0) -> None:
        """Come into a room, or into it again."""
        greetings = room.greetings
        await asyncio.sleep(after_s)
        if room.id not in self.rooms or room.greetings != greetings or not self.link.is_open:
            return
        # On a connection that is lost, or will be, it is said again on the next.
        with suppress(ConnectionLostError):
            await self.link.send(protocol.encode_request(room.greeting()))

    async def _try(self, message: str, course: Course) -> None:
        """Send a message about a run; a kept one hears it again when the client is back."""
        if course.keeping is not None and not self.link.is_open:
            return  # else it would hear it twice then
        try:
            await self.link.send(message)
        except ConnectionLostError as exc:
            if course.keeping is None:
                self.courses.pop(course.id, None)
                course.end(exc)

    def abandon(self, run_id: str) -> None:
        """Cancel a run without waiting, for when the caller itself is being cancelled."""
        course = self.courses.get(run_id)
        if course is not None:
            course.outputs.discard()
            attached = course.keeping is not None and course.keeping.is_attached
            last = protocol.Detach(id=run_id) if attached else protocol.Cancel(id=run_id)
            self.link.spawn(self._send_last(last))

    async def _send_last(self, message: protocol.ClientMessage) -> None:
        # What can't be sent is not needed any more.
        with suppress(ConnectionLostError):
            await self.send(message)

    async def send(self, message: protocol.ClientMessage) -> None:
        """Send a message about a run or a room; stdin of a kept run is noted first."""
        course = None if message.id is UNSET else self.courses.get(message.id)
        keeping = course.keeping if course else None
        if keeping is None or not isinstance(message, protocol.Stdin | protocol.Eof):
            await self.link.send(protocol.encode_request(message))
            return
        assert course is not None
        if isinstance(message, protocol.Eof):
            keeping.write(None)
        else:
            keeping.write(protocol.content_bytes(message.data, message.base64, "$"))
        await self.link.ready()
        await self._send_log(course)

    async def _send_log(self, course: Course) -> None:
        """Send the stdin of a kept run that is not on its way; after a loss, what may be lost."""
        assert course.keeping is not None
        while self.link.is_open and (message := course.keeping.unsent(course.id)):
            await self._try(protocol.encode_request(message), course)

    # What the link tells; see `link.Host`.

    def heard(self, raw: str | bytes) -> Awaitable[None] | None:
        """Hand a message to its run."""
        if self._on_message is not None:
            self._on_message(raw)
        event = protocol.decode_server(raw)
        full = None if event is None else self._dispatch(event)
        return None if full is None else full.room()

    def cut_off(self, lost: ConnectionLostError) -> float:
        """End the runs that ended with the connection; return how long the others are kept."""
        kept = {name: each for name, each in self.courses.items() if each.keeping is not None}
        ended = [each for name, each in self.courses.items() if name not in kept]
        self.courses = kept
        for course in ended:
            course.end(lost)
        patience_s = []
        for course in kept.values():
            if course.keeping is not None:
                course.keeping.is_away = True
                patience_s.append(course.keeping.patience_s)
        for room in list(self.rooms.values()):
            if room.can_come_back:
                room.away()
                patience_s.append(PATIENCE_S)
            else:
                del self.rooms[room.id]
                room.fail(lost)
        return max(patience_s, default=0)

    def back(self) -> None:
        """Go on with the rooms, and the runs that were kept: those of a room once it is there."""
        for room in self.rooms.values():
            self.link.spawn(self._greet_room(room))
        coming = {room.room for room in self.rooms.values()}
        for course in self.courses.values():
            if course.keeping and course.keeping.room not in coming:
                self.link.spawn(self.greet(course))

    def gone(self, lost: ConnectionLostError) -> None:
        """End all runs, and be in no room."""
        courses, self.courses = self.courses, {}
        for course in courses.values():
            course.end(lost)
        rooms, self.rooms = self.rooms, {}
        for room in rooms.values():
            room.fail(lost)

    async def greet(self, course: Course, after_s: float = 0.0) -> None:
        """Attach to a kept run, or ask for it again if it was not accepted yet."""
        assert course.keeping is not None
        greetings = course.keeping.greetings
        await asyncio.sleep(after_s)
        # On a new socket that has come meanwhile it has been done already.
        if course.id in self.courses and course.keeping.greetings == greetings:
            greeting = course.keeping.greeting(course.id)
            await self._try(protocol.encode_request(greeting), course)

    def _dispatch(self, event: protocol.ServerMessage) -> Buffer[Any] | None:
        """Give an event to its run or room; return that one's buffer if it is full now."""
        if isinstance(event, protocol.Error):
            self._refused(event)
            return None
        name = "" if event.id is UNSET else event.id
        room = self.rooms.get(name)
        if room is not None:
            return self._tell_room(room, event)
        course = self.courses.get(name)
        if course is None:
            return None  # an abandoned run's last words
        if isinstance(event, Exit | protocol.Detached):
            del self.courses[course.id]
        full = course.take(event)
        if isinstance(event, protocol.Accepted | protocol.Attached):
            self.link.spawn(self._send_log(course))
        return course.outputs if full else None

    def _tell_room(self, room: Room, event: protocol.ServerMessage) -> Buffer[Any] | None:
        came_in = isinstance(event, words.Joined) and not room.is_inside
        full = room.take(event)
        if came_in:
            self._greet_those_of(room)
        if room.is_over:
            del self.rooms[room.id]
        return room.buffer if full else None

    def _greet_those_of(self, room: Room) -> None:
        """Go on with the runs that wait for a room."""
        for course in self.courses.values():
            keeping = course.keeping
            if keeping and keeping.is_away and keeping.room == room.room:
                self.link.spawn(self.greet(course))

    def _refused(self, event: protocol.Error) -> None:
        error = RunRefusedError(
            event.message,
            code=event.code,
            path=None if event.path is UNSET else event.path,
            retry_after_s=None if event.retry_after_s is UNSET else event.retry_after_s,
        )
        if event.id is not UNSET and event.id in self.rooms:
            self._refused_room(self.rooms[event.id], error)
            return
        pending = [each for each in self.courses.values() if not each.answered.is_set()]
        course = self.courses.get(event.id) if event.id is not UNSET else None
        if event.id is UNSET and pending:
            # The server could not make out whose message it was. Only a request to run is big and
            # free enough for that, and they are looked at in the order they were sent.
            course = pending[0]
        if course is not None:
            self._refused_run(course, error)

    def _refused_run(self, course: Course, error: RunRefusedError) -> None:
        keeping = course.keeping
        if keeping and keeping.run and keeping.key and error.code == "no_such_room":
            keeping.room = None  # the room is over, and its own key opens it as ever
            self.link.spawn(self.greet(course))
        elif not course.answered.is_set() or (keeping and error.path in {"$.run", "$.room"}):
            del self.courses[course.id]
            course.end(error)
        elif keeping and error.code in LEFT_CODES:
            self.link.spawn(self.greet(course, after_s=AGAIN_S))
        elif error.code != "no_such_run":  # a request that crossed with the exit harms nobody
            course.refuse(error)

    def _refused_room(self, room: Room, error: RunRefusedError) -> None:
        if room.you and error.code in LEFT_CODES:
            room.away()
            self.link.spawn(self._greet_room(room, after_s=AGAIN_S))
        elif room.is_inside and error.code != "no_such_room":
            room.refuse(error)
        else:
            del self.rooms[room.id]
            room.fail(error)
            self._greet_those_of(room)
