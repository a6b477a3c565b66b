"""One person of one room, on one socket of the JSON protocol.

Owns the task that tells the client. The room does not end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable

import msgspec
from msgspec import UNSET, UnsetType

from wsrunner import protocol
from wsrunner.errors import BadMessageError, WsrunnerError
from wsrunner.rooms.hall import Hall
from wsrunner.rooms.seat import Seat
from wsrunner.runs.delivery import ReaderGoneError
from wsrunner.runs.job import Principal
from wsrunner.serving.access import is_loopback
from wsrunner.serving.outlet import Outlet
from wsrunner.words import rooms as words
from wsrunner.words.base import Event

log = logging.getLogger(__name__)


class Occupant:
    """Tells a client of its room, and passes on what it sends.

    Args:
        outlet: The client's socket.
        id: The client's name for the room.
        on_over: Called when nothing more is told: the client may use the id again.

    Attributes:
        seat: Its place in the room; set by `begin`.
    """

    seat: Seat

    def __init__(
        self,
        outlet: Outlet,
        id: str | UnsetType,  # noqa: A002
        *,
        on_over: Callable[[Occupant], None],
    ) -> None:
        self.id = id
        self._outlet = outlet
        self._on_over = on_over
        self._task: asyncio.Task[None]

    async def begin(
        self, hall: Hall, request: words.Open | words.Join, principal: Principal
    ) -> None:
        """Come into the room, and tell of it from then on.

        Raises:
            WsrunnerError: See `Hall.open` and `Hall.join`.

        Cancelling is safe.
        """
        once = secrets.token_hex(16) if request.once is UNSET else request.once
        opened: words.Opened | None = None
        if isinstance(request, words.Join):
            self.seat = await hall.join(principal, request.room, request.key, request.name, once)
        else:
            address = "" if is_loopback(principal.client) else principal.client
            self.seat = await hall.open(principal, address, request.name, once)
            keys = self.seat.room.keys
            opened = words.Opened(
                room=self.seat.room.id, own=keys.own, work=keys.work, watch=keys.watch
            )
        self._task = asyncio.create_task(self._tell(opened))

    def leave(self) -> None:
        """Go: the socket has."""
        self._task.cancel()
        self.seat.leave()

    def take(self, message: protocol.ClientMessage) -> None:
        """Pass on what the client sends; never waits.

        Raises:
            WsrunnerError: It can't be done; see `rooms.seat.Seat`.
        """
        seat = self.seat
        match message:
            case words.Update(base64=encoded, replaces=replaces):
                data = protocol.content_bytes(UNSET, encoded, "$")
                seat.update(data, None if replaces is UNSET else replaces)
            case words.Awareness(base64=encoded):
                seat.awareness(protocol.content_bytes(UNSET, encoded, "$"))
            case words.Hand(up=up):
                seat.hand(up=up)
            case words.Grant(person=person, role=role):
                seat.grant(None if person is UNSET else person, role)
            case words.Close():
                seat.close()
            case words.Leave():
                seat.leave()
                seat.end("left")
            case _:
                raise BadMessageError("this is for a run, and the id is a room's", path="$.id")

    async def _tell(self, opened: words.Opened | None) -> None:
        with contextlib.suppress(ReaderGoneError):
            try:
                if opened is not None:
                    await self._say(opened)
                while True:
                    for event in await self.seat.next():
                        if isinstance(event, WsrunnerError):
                            await self._complain(event)
                            continue
                        if isinstance(event, words.Left):
                            self._on_over(self)
                            await self._say(event)
                            return
                        await self._say(event)
            except ReaderGoneError:
                raise
            except Exception:
                log.exception("telling a client of a room failed")
                await self._complain(WsrunnerError("an error of the server; join again"))
            finally:
                self.seat.leave()
                self._on_over(self)

    async def _complain(self, error: WsrunnerError) -> None:
        await self._outlet.send(protocol.encode(protocol.error_event(error, self.id)), text=True)

    async def _say(self, event: Event) -> None:
        def make() -> bytes:
            named = event if self.id is UNSET else msgspec.structs.replace(event, id=self.id)
            return protocol.encode(named)

        if isinstance(event, words.Updated):
            # The same for all who call the room alike, but for who has sent it. A number alone says
            # not which change it is: what a home told that was none any more had others.
            message = self.seat.room.once_made((event, self.id), make)
        else:
            message = make()
        await self._outlet.send(message, text=True)
