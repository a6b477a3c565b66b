"""All rooms of this process: opens them, finds them, ends them, and bounds how many there are."""

from __future__ import annotations

import asyncio
import secrets

from wsrunner.errors import DrainingError, NoSuchRoomError, NotAllowedError, RoomsFullError
from wsrunner.live.show import new_key
from wsrunner.rooms.room import Keys, Room
from wsrunner.rooms.seat import Seat
from wsrunner.runs.host import Host
from wsrunner.runs.job import Principal


class Hall:
    """The rooms of one process.

    Args:
        host: Its settings, and whether it is about to stop.

    Attributes:
        rooms: By their ids.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.rooms: dict[str, Room] = {}
        self._owners: dict[str, Principal] = {}  # who has opened them
        self._openers: dict[str, tuple[str, str]] = {}  # tenant and address
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def people(self) -> int:
        """How many are in all of them."""
        return sum(len(room.seats) for room in self.rooms.values())

    def open(self, principal: Principal, address: str, name: str, once: str) -> Seat:
        """Open a room; return its owner's seat.

        Args:
            principal: Who asks; it counts for their tenant.
            address: The address that it counts for; empty for nobody's.
            name: What the others call its owner.
            once: The owner's own random name, see `Room.sit`.

        Raises:
            NotAllowedError: The token is for watching, or for one room.
            RoomsFullError: There are too many, or too many of this tenant or address.
            DrainingError: The server is about to stop.
        """
        if not principal.drives:
            raise NotAllowedError("this token is for watching; it opens no room")
        if principal.room:
            raise NotAllowedError(f"this token is for room {principal.room}; it opens no other")
        if self._host.draining:
            raise DrainingError("the server is about to stop and opens no rooms")
        opener = principal.tenant, address
        self._check_place(opener, principal.may.rooms)
        room = Room(
            secrets.token_hex(8),
            Keys(new_key(), new_key(), new_key()),
            self._host.settings,
            on_empty=self._emptied,
            on_close=self._closed,
        )
        self.rooms[room.id] = room
        self._owners[room.id] = principal
        self._openers[room.id] = opener
        return room.sit("own", name, once)

    def host_of(self, room_id: str, key: str) -> Principal | None:
        """Return who has opened a room, for whom a key opens it, too; None where it opens none."""
        room = self.rooms.get(room_id)
        role = (room.keys if room else _NOBODY_S).role(key)
        return None if room is None or role is None else self._owners[room_id]

    def join(self, principal: Principal, room_id: str, key: str, name: str, once: str) -> Seat:
        """Come into a room; with a token for watching to watch, whatever the key.

        Raises:
            NotAllowedError: The token is for another room.
            NoSuchRoomError: There is none that this key opens; which of both is wrong is not told.
            RoomsFullError: Too many are in it.
        """
        if principal.room not in {"", room_id}:
            raise NotAllowedError(f"this token is for room {principal.room}", path="$.room")
        room = self.rooms.get(room_id)
        role = (room.keys if room else _NOBODY_S).role(key)
        if room is None or role is None:
            raise NoSuchRoomError(f"no room {room_id!r} that this key opens", path="$.room")
        seat = room.sit(role, name, once, watches_only=not principal.drives)
        timer = self._timers.pop(room_id, None)
        if timer is not None:
            timer.cancel()
        return seat

    def seen_by(self, principal: Principal) -> list[tuple[Room, str]]:
        """Return those that somebody may end by `end`, the oldest first, each with its tenant."""
        return [
            (self.rooms[id_], owner.tenant)
            for id_, owner in self._owners.items()
            if principal.owns(owner)
        ]

    def end(self, principal: Principal, room_id: str) -> None:
        """End a room for everybody, as its owner's `close` does.

        Raises:
            NoSuchRoomError: There is none, or none that was opened by who asks.
        """
        room = self.rooms.get(room_id)
        if room is None or not principal.owns(self._owners[room_id]):
            raise NoSuchRoomError(
                f"no room {room_id!r} that is yours is on this replica", path="$.room"
            )
        room.close("closed")

    def _check_place(self, opener: tuple[str, str], tenant_most: int) -> None:
        settings = self._host.settings
        tenant, address = opener
        of_tenant = sum(each[0] == tenant for each in self._openers.values())
        of_address = sum(each[1] == address for each in self._openers.values())
        bounds: tuple[tuple[int, int | None, str], ...] = (
            (len(self.rooms), settings.rooms, "rooms"),
            (of_tenant, tenant_most or None if tenant else None, "rooms of this tenant"),
            (
                of_address,
                settings.rooms_per_client or None if address else None,
                "rooms of this client",
            ),
        )
        for count, most, whose in bounds:
            if most is not None and count >= most:
                raise RoomsFullError(
                    f"{count} {whose} are open; the limit is {most} rooms",
                    retry_after_s=settings.room_s,
                )

    def _emptied(self, room: Room) -> None:
        loop = asyncio.get_running_loop()
        room_s = self._host.settings.room_s
        self._timers[room.id] = loop.call_later(room_s, room.close, "closed")

    def _closed(self, room: Room) -> None:
        self.rooms.pop(room.id, None)
        self._owners.pop(room.id, None)
        self._openers.pop(room.id, None)
        timer = self._timers.pop(room.id, None)
        if timer is not None:
            timer.cancel()


_NOBODY_S = Keys(new_key(), new_key(), new_key())
"""Compared with where there is no room, so that time does not tell."""
