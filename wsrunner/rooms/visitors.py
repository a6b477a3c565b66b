"""Seats on other replicas, of the rooms whose home is here.

Owns how far each has come with its orders, and when its replica was heard last. No tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from wsrunner.errors import NoSuchRoomError, WsrunnerError
from wsrunner.rooms import entries
from wsrunner.rooms.entries import Letter
from wsrunner.rooms.room import Room

SILENCE_S = 6.0
"""How long a replica need not write; it does each second."""

Post = Callable[[str, Letter], None]
"""Sends a letter to a replica; never waits."""


class Visitors:
    """All of them.

    Args:
        find: Returns the room of an id.
        post: Sends letters.
        now_s: A clock.
    """

    def __init__(
        self, find: Callable[[str], Room | None], post: Post, now_s: Callable[[], float]
    ) -> None:
        self._find = find
        self._post = post
        self._now_s = now_s
        self._parties: dict[tuple[str, str], _Party] = {}  # by room and replica

    def ask(self, letter: entries.Asks, *, is_leaving: bool = False) -> None:
        """Do what a seat orders.

        Args:
            letter: The order.
            is_leaving: Whether it is known to have left since: nobody has to go for it who has
                come as the same person meanwhile.
        """
        room = self._find(letter.room)
        if room is None or room.home is None:
            self._post(letter.replica, entries.Unknown(letter.room))
            return
        turns = self._heard(room, letter.replica).turns
        before = turns.get(letter.seat)
        if before is not None and letter.turn <= before:
            return  # sent again, as its replica had no reply from Redis
        order = letter.order
        is_new = isinstance(order, entries.Sit)
        if isinstance(order, entries.Sit) and is_leaving:
            order = msgspec.structs.replace(order, again=True)
        if not is_new and (before is None or letter.turn > before + 1):
            self._post(letter.replica, entries.Unknown(letter.room))
            return
        turns[letter.seat] = letter.turn
        try:
            room.home.carry_out(letter.replica, letter.seat, letter.person, order)
        except NoSuchRoomError:
            # It was taken for gone: its client is not to hear of that, but to sit there again; not
            # where it leaves.
            if not isinstance(order, entries.Leave):
                self._post(letter.replica, entries.Unknown(letter.room))
        except WsrunnerError as exc:
            self._post(letter.replica, _refusal(letter, exc))
            if is_new:
                del turns[letter.seat]
        if isinstance(letter.order, entries.Leave):
            turns.pop(letter.seat, None)

    def here(self, letter: entries.Here) -> None:
        """Hear who sits on a replica."""
        room = self._find(letter.room)
        if room is None or room.home is None:
            if letter.turns:
                self._post(letter.replica, entries.Unknown(letter.room))
            return
        party = self._heard(room, letter.replica)
        party.turns = {seat: turn for seat, turn in party.turns.items() if seat in letter.turns}
        seats = {each.seat for each in room.state.people.values()}
        if party.turns != letter.turns or not seats.issuperset(letter.turns):
            self._post(letter.replica, entries.Unknown(letter.room))
        room.home.lose(letter.replica, but=letter.turns)

    def _heard(self, room: Room, replica: str) -> _Party:
        party = self._parties.setdefault((room.id, replica), _Party())
        party.heard_s = self._now_s()
        return party

    def expect(self, room: Room) -> None:
        """Give all replicas time again to be heard."""
        for replica in {each.replica for each in room.state.people.values()}:
            self._heard(room, replica)

    def forget(self, room: Room) -> None:
        """Hear that a room's home is not here any more."""
        for key in [key for key in self._parties if key[0] == room.id]:
            del self._parties[key]

    def give_up_silent(self, rooms: Iterable[Room], mine: str) -> None:
        """Let those be gone whose replicas have not been heard for a while.

        Args:
            rooms: Those whose home is here.
            mine: This replica.
        """
        now_s = self._now_s()
        for room in rooms:
            assert room.home is not None
            for replica in {each.replica for each in room.state.people.values()} - {mine}:
                party = self._parties.get((room.id, replica)) or self._heard(room, replica)
                if now_s - party.heard_s > SILENCE_S:
                    del self._parties[room.id, replica]
                    room.home.lose(replica)


class _Party:
    """Who of one room sits on one replica."""

    def __init__(self) -> None:
        self.heard_s = 0.0
        self.turns: dict[str, int] = {}  # by seat: its last order


def _refusal(letter: entries.Asks, error: WsrunnerError) -> entries.Refused:
    return entries.Refused(
        letter.room,
        letter.seat,
        isinstance(letter.order, entries.Sit),
        error.code,
        error.message,
        error.path or "",
        error.retry_after_s,
    )
