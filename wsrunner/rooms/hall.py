"""All rooms of this process: opens them, finds them, ends them, and bounds how many there are."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Self

from wsrunner.errors import (
    DrainingError,
    NoSuchRoomError,
    NotAllowedError,
    RoomsFullError,
)
from wsrunner.gates.replica import unavailable
from wsrunner.live.show import new_key
from wsrunner.rooms import entries
from wsrunner.rooms.entries import Entry, Order
from wsrunner.rooms.room import Deed, Keys, Room
from wsrunner.rooms.seat import Seat
from wsrunner.runs.host import Host
from wsrunner.runs.job import Principal

if TYPE_CHECKING:
    from wsrunner.rooms.link import Link


ID_BYTES = 8
_ID = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")


class Hall:
    """The rooms of one process.

    Args:
        host: Its settings, and whether it is about to stop.
        replica: This process's name among those that share a Redis; empty where none does.

    ``async with`` begins and ends the sharing.

    Attributes:
        rooms: Those that are here, by their ids: their home, or somebody who sits in them.
    """

    def __init__(self, host: Host, replica: str = "") -> None:
        self._host = host
        self.settings = host.settings
        self.replica = replica
        self.rooms: dict[str, Room] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._link: Link | None = None
        if replica:
            # A server alone starts sooner without what it takes.
            from wsrunner.rooms.link import Link
            from wsrunner.rooms.store import RoomStore

            self._link = Link(
                RoomStore(self.settings.redis_url),
                self,
                self.rooms,
                settled=self._settled,
                parted=self._stop_timer,
                is_starting=lambda: host.starting,
            )

    async def __aenter__(self) -> Self:
        if self._link is not None:
            await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._link is not None:
            await self._link.__aexit__(*exc)

    @property
    def homes(self) -> list[Room]:
        """The rooms whose home is here, the oldest first."""
        return [room for room in self.rooms.values() if room.home is not None]

    @property
    def people(self) -> int:
        """How many sit in rooms here."""
        return sum(len(room.seats) for room in self.rooms.values())

    async def open(self, principal: Principal, address: str, name: str, once: str) -> Seat:
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
            GateUnavailableError: Redis can't be reached.

        Cancelling is safe.
        """
        if not principal.drives:
            raise NotAllowedError("this token is for watching; it opens no room")
        if principal.room:
            raise NotAllowedError(f"this token is for room {principal.room}; it opens no other")
        if self._host.draining:
            raise DrainingError("the server is about to stop and opens no rooms")
        self._check_place(principal, address)
        keys = Keys(new_key(), new_key(), new_key())
        room = Room(Deed(secrets.token_hex(ID_BYTES), keys, principal, address), self)
        room.settle()
        self.rooms[room.id] = room  # from now on it counts
        try:
            if self._link is not None:
                await self._link.claim(room)
            return room.sit("own", name, once)
        except BaseException:
            self.rooms.pop(room.id, None)
            raise

    async def deed_of(self, room_id: str) -> Deed | None:
        """Return what is known of a room; raises GateUnavailableError."""
        room = self.rooms.get(room_id)
        if room is not None or self._link is None or not _ID.fullmatch(room_id):
            return None if room is None else room.deed
        return await self._link.find(room_id)

    async def host_of(self, room_id: str, key: str) -> Principal | None:
        """Return who has opened a room, for whom a key opens it, too; None where it opens none.

        Raises:
            GateUnavailableError: Redis can't be reached.
        """
        deed = await self.deed_of(room_id)
        role = (deed.keys if deed else _NOBODY_S).role(key)
        return None if deed is None or role is None else deed.opener

    async def join(
        self, principal: Principal, room_id: str, key: str, name: str, once: str
    ) -> Seat:
        """Come into a room; with a token for watching to watch, whatever the key.

        Raises:
            NotAllowedError: The token is for another room.
            NoSuchRoomError: There is none that this key opens; which of both is wrong is not told.
            RoomsFullError: Too many are in it.
            GateUnavailableError: Redis, or the room's home, can't be reached.

        Cancelling is safe.
        """
        if principal.room not in {"", room_id}:
            raise NotAllowedError(f"this token is for room {principal.room}", path="$.room")
        deed = await self.deed_of(room_id)
        role = (deed.keys if deed else _NOBODY_S).role(key)
        if deed is None or role is None:
            raise NoSuchRoomError(f"no room {room_id!r} that this key opens", path="$.room")
        room = self.rooms.get(room_id)
        if room is None:
            assert self._link is not None
            room = await self._link.follow(room_id)
        seat = room.sit(role, name, once, watches_only=not principal.drives)
        try:
            await self._seated(seat)
        except BaseException:
            seat.leave()
            raise
        return seat

    async def _seated(self, seat: Seat) -> None:
        """Wait until a seat is had."""
        if not seat.sits.is_set():
            assert self._link is not None
            try:
                async with asyncio.timeout(self._link.patience_s):
                    await seat.sits.wait()
            except TimeoutError as exc:
                raise unavailable("the room's server does not answer") from exc
        if seat.refusal is not None:
            raise seat.refusal

    def seen_by(self, principal: Principal) -> list[Room]:
        """Return those whose home is here and that somebody may end by `end`, the oldest first."""
        return [room for room in self.homes if principal.owns(room.deed.opener)]

    def end(self, principal: Principal, room_id: str) -> None:
        """End a room for everybody, as its owner's `close` does.

        Raises:
            NoSuchRoomError: There is none, or none that was opened by who asks.
        """
        room = self.rooms.get(room_id)
        if room is None or room.home is None or not principal.owns(room.deed.opener):
            raise NoSuchRoomError(
                f"no room {room_id!r} that is yours is on this replica", path="$.room"
            )
        room.home.close("closed")

    def _check_place(self, principal: Principal, address: str) -> None:
        settings, homes = self.settings, self.homes
        of_tenant = sum(room.deed.opener.tenant == principal.tenant for room in homes)
        of_address = sum(room.deed.address == address for room in homes)
        tenant_most = principal.may.rooms or None if principal.tenant else None
        bounds: tuple[tuple[int, int | None, str], ...] = (
            (len(homes), settings.rooms, "rooms"),
            (of_tenant, tenant_most, "rooms of this tenant"),
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

    # See `rooms.room.Ground`.

    def happened(self, room: Room, entry: Entry) -> None:
        """Hear of an entry that was decided here."""
        match entry:
            case entries.Came():
                self._stop_timer(room)
            case entries.Went():
                self._settled(room)
            case entries.Closed():
                self._stop_timer(room)
                self.rooms.pop(room.id, None)
        if self._link is not None:
            self._link.publish(room, entry)
            if isinstance(entry, entries.Closed):
                self._link.forget(room)

    def ordered(self, room: Room, seat: Seat, order: Order) -> None:
        """Pass an order on to the room's home elsewhere; see `Link.order`."""
        assert self._link is not None
        self._link.order(room, seat, order)
        if isinstance(order, entries.Leave) and not room.seats:
            # Nobody here needs it any more.
            self.rooms.pop(room.id, None)

    def run_over(self, room_id: str, run_id: str, *, readable: bool) -> None:
        """Hear that a run of a room is over, which this replica has carried out."""
        room = self.rooms.get(room_id)
        if room is not None and room.home is not None:
            room.home.end_run(run_id, readable=readable)
        elif self._link is not None:
            self._link.run_over(room_id, run_id, readable=readable)

    def _settled(self, room: Room) -> None:
        """End a room in time whose home is here, if nobody is in it."""
        self._stop_timer(room)
        if room.home is not None and not room.state.people and room.id in self.rooms:
            loop = asyncio.get_running_loop()
            self._timers[room.id] = loop.call_later(self.settings.room_s, room.home.close, "closed")

    def _stop_timer(self, room: Room) -> None:
        timer = self._timers.pop(room.id, None)
        if timer is not None:
            timer.cancel()


_NOBODY_S = Keys(new_key(), new_key(), new_key())
"""Compared with where there is no room, so that time does not tell."""
