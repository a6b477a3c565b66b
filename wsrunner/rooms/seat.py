"""One person's place in a room: what they may send to it, and what they have yet to be told.

No tasks: its owner asks for what there is to tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from wsrunner.bucket import Bucket
from wsrunner.errors import (
    NoSuchRoomError,
    NotAllowedError,
    RateLimitedError,
    TooLargeError,
    WsrunnerError,
)
from wsrunner.rooms import entries
from wsrunner.rooms.state import UPDATE_COST_BYTES
from wsrunner.units import KIB
from wsrunner.words import rooms as words
from wsrunner.words.base import Event

if TYPE_CHECKING:
    from wsrunner.rooms.room import Room

UPDATE_MAX_BYTES = 64 * KIB
AWARENESS_MAX_BYTES = 4 * KIB
BURST_S = 5
"""So many seconds' worth of messages may come at once."""
TYPED_PER_S = 4
"""How often the others are told that somebody types."""
UNTOLD_MAX_BYTES = 1024 * KIB
"""What may wait for a seat; one that is further behind is told all there is instead."""
COMPLAINTS_MAX = 100
"""Errors that wait for one client to be told them."""

Heard = Event | WsrunnerError
"""What a seat hears; an error is about something that it sent, and ends nothing."""


class Seat:
    """One person's place in a room.

    Args:
        room: The room.
        asked: Who wants to sit here; the role is what their key makes of them.
        watches_only: Whether their token lets them do nothing else, whatever the role.

    Attributes:
        id: Unique, also between replicas.
        person: Who it is.
        turn: How many orders it has given to a home elsewhere.
        sits: Set while the room's home knows of it, or once it was refused.
        refusal: Why it was.
        has_sat: Whether the room has known of it before.
        known_at: `Room.position` when the room knew of it last.
        begun: The runs that this person has started here and that go on: their room may have to
            hear of them again, at another home.
        listeners: Called when the role, or the seat itself, is another's or over.
    """

    def __init__(self, room: Room, asked: words.Person, *, watches_only: bool = False) -> None:
        self.id = secrets.token_hex(8)
        self.room = room
        self.asked = self.person = asked
        self.watches_only = watches_only
        self.turn = 0
        self.sits = asyncio.Event()
        self.refusal: WsrunnerError | None = None
        self.has_sat = False
        self.known_at = 0
        self.begun: dict[str, entries.Begin] = {}
        self.listeners: set[Callable[[], None]] = set()
        self._complaints: list[WsrunnerError] = []
        self._untold: list[Event] = []
        self._untold_bytes = 0
        self._behind = True  # it has yet to be told all there is
        self._changed = False
        self._over: words.Left | None = None
        self._wake = asyncio.Event()
        per_s = room.settings.room_messages_per_s
        self._messages = Bucket(per_s, BURST_S * per_s, room.now_s())
        self._typed = Bucket(TYPED_PER_S, TYPED_PER_S, room.now_s())

    @property
    def is_over(self) -> bool:
        """Whether its client is not in the room any more, or on another seat."""
        return self.id not in self.room.seats

    @property
    def works(self) -> bool:
        """Whether its client may edit, run, and type into the room's runs."""
        return not self.watches_only and self.person.role != "watch"

    async def next(self) -> list[Heard]:
        """Wait for what is to be told next; `Left` is the last. Cancelling is safe."""
        while not (due := self._due()):
            self._wake.clear()
            await self._wake.wait()
        return due

    def _due(self) -> list[Heard]:
        due: list[Heard] = []
        if self._behind and self.sits.is_set():
            self._behind = self._changed = False
            due.append(self.room.joined(self))
            asked = self.room.asked_of(self)
            if asked is not None:  # it may have been dropped with what this stands for
                due.append(asked)
        due += self._untold
        self._untold, self._untold_bytes = [], 0
        if self._changed and not self._behind:
            self._changed = False
            due.append(self.room.now)
        due += self._complaints
        self._complaints.clear()
        if self._over is not None:
            due.append(self._over)
        return due

    def tell(self, event: Event, size: int) -> None:
        """Let it hear something; one that is far behind hears all there is in its place."""
        if self._untold_bytes + size > UNTOLD_MAX_BYTES:
            self.tell_all()
        elif not self._behind:
            self._untold.append(event)
            self._untold_bytes += size + UPDATE_COST_BYTES
        self._wake.set()

    def tell_all(self) -> None:
        """Let it hear all there is, in place of what it has yet to hear; once it sits."""
        self._untold, self._untold_bytes, self._behind = [], 0, True
        self._wake.set()

    def tell_change(self) -> None:
        """Let it hear what the room is now; several changes are told as one."""
        self._changed = True
        self._wake.set()

    def complain(self, error: WsrunnerError) -> None:
        """Tell it what was wrong with something that it sent; of very much not of all."""
        if len(self._complaints) < COMPLAINTS_MAX:
            self._complaints.append(error)
        self._wake.set()

    def end(self, reason: str) -> None:
        """Let it hear that nothing more is told."""
        self._over = words.Left(room=self.room.id, reason=reason)
        self._wake.set()

    def look(self) -> None:
        """Let those look again who do what this person may do in the room."""
        for listener in list(self.listeners):
            listener()

    def leave(self) -> None:
        """Give it up. Idempotent."""
        if not self.is_over:
            self.room.leave(self)

    # What its client may send; none of these waits. NoSuchRoomError: it is not there any more. What
    # the room refuses is raised, or told by `next` where its home is on another replica.

    def update(self, data: bytes, replaces: int | None) -> None:
        """Change the document.

        Args:
            data: The update's bytes.
            replaces: See `words.Update`.

        Raises:
            NotAllowedError: Who watches, or was not asked for one that replaces.
            TooLargeError: The update, or the document with it.
            RateLimitedError: Too many messages.
        """
        self._spend()
        _check_size("an update of {} bytes", data, UPDATE_MAX_BYTES)
        self.room.order(self, entries.Update(data, replaces))

    def awareness(self, data: bytes) -> None:
        """Tell the others where this person is; raises as `update`."""
        self._spend()
        _check_size("{} bytes of awareness", data, AWARENESS_MAX_BYTES)
        self.room.order(self, entries.Awareness(data))

    def hand(self, *, up: bool) -> None:
        """Raise the hand, or take it down; raises RateLimitedError."""
        self._spend()
        self.room.order(self, entries.Hand(up))

    def grant(self, person: str | None, role: words.Granted) -> None:
        """Say what somebody may do; None for all but owners.

        Raises:
            NotAllowedError: Who does not own the room.
            BadMessageError: There is no such person, or they own it.
            RateLimitedError: Too many messages.
        """
        self._spend()
        self.room.order(self, entries.Grant(person, role))

    def check_runs(self) -> None:
        """Raise NotAllowedError if its client may not start runs in the room."""
        self._check_there()
        if not self.works:
            raise NotAllowedError(f"in room {self.room.id} only who may work can run programs")

    def begin_run(self, run_id: str, language: str) -> None:
        """Tell of a run that this person has started in the room; never raises: it goes on."""
        begun = self.begun[run_id] = entries.Begin(run_id, language)
        with contextlib.suppress(WsrunnerError):
            self.room.order(self, begun)

    def typed(self, run_id: str) -> None:
        """Let the others know that this person types into a run, now and then; never raises."""
        if self._typed.take(self.room.now_s()):
            with contextlib.suppress(WsrunnerError):
                self.room.order(self, entries.Type(run_id))

    def close(self) -> None:
        """End the room for everybody; raises NotAllowedError."""
        self._check_there()
        self.room.order(self, entries.Close())

    def _check_there(self) -> None:
        if self.is_over:
            raise NoSuchRoomError(f"this client has left room {self.room.id}", path="$.id")

    def _spend(self) -> None:
        self._check_there()
        now_s = self.room.now_s()
        if not self._messages.take(now_s):
            per_s = self.room.settings.room_messages_per_s
            raise RateLimitedError(
                f"more messages to room {self.room.id} than {per_s} a second",
                retry_after_s=self._messages.wait_s(1, now_s),
            )


def _check_size(what: str, data: bytes, most: int) -> None:
    if len(data) > most:
        raise TooLargeError(f"{what.format(len(data))}; the limit is {most} bytes", path="$.base64")
