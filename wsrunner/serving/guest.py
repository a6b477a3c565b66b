"""One client of one kept run, on one socket of the JSON protocol.

Owns the task that tells the client, and what the client sent before its seat was there. The run
does not end with it. Who is attached through a room has the seat that fits what they may do there,
and changes it when that changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from msgspec import UNSET, UnsetType

from wsrunner import protocol
from wsrunner.errors import (
    BadMessageError,
    NoSuchRunError,
    NotAllowedError,
    TooLargeError,
    WsrunnerError,
)
from wsrunner.live.house import House
from wsrunner.live.journal import Entry
from wsrunner.live.kept import Kept
from wsrunner.live.show import Item, Role, Seat
from wsrunner.protocol import Attach, RunRequest
from wsrunner.rooms.seat import Seat as Place
from wsrunner.runs.delivery import ReaderGoneError
from wsrunner.runs.events import Exit, Refused
from wsrunner.runs.job import Principal
from wsrunner.serving import wire
from wsrunner.serving.outlet import Outlet

log = logging.getLogger(__name__)

EARLY_MAX = 1000
EARLY_MAX_BYTES = 2**20
"""What a client may send to a run before it has been found."""
ROOM_KEEP_S = 60.0
"""How long a room's run goes on while nobody there may type, if its request does not say."""


class Guest:
    """Tells a client of a kept run, and passes on what it sends.

    Args:
        outlet: The client's socket.
        id: The client's name for the run.
        on_over: Called when nothing more is told: the client may use the id again.
        place: The client's seat in the room that the run belongs to, if it belongs to one.
    """

    def __init__(
        self,
        outlet: Outlet,
        id: str | UnsetType,  # noqa: A002
        *,
        on_over: Callable[[Guest], None],
        place: Place | None = None,
    ) -> None:
        self.id = id
        self._outlet = outlet
        self._on_over = on_over
        self._place = place
        self._turned = False  # whether it may do something else in the room than its seat lets it
        self._seat: Seat | None = None
        self._early: list[protocol.ClientMessage] = []
        self._early_bytes = 0
        self._early_refused: TooLargeError | None = None
        self._greeted = False  # whether it has heard of its run by name
        self._going = False
        self._task: asyncio.Task[None] | None = None

    def begin(self, house: House, request: RunRequest | Attach, principal: Principal) -> None:
        """Start the run, or find it, and tell of it from then on."""
        if self._place is not None:
            self._place.listeners.add(self._look_again)
        self._task = asyncio.create_task(self._serve(house, request, principal))

    def leave(self) -> None:
        """Go: the socket has."""
        if self._task is not None:
            self._task.cancel()

    def take(self, message: protocol.ClientMessage) -> None:
        """Pass on what the client sends; never waits.

        Raises:
            WsrunnerError: It can't be done; see `live.show.Seat`.
        """
        if self._place is not None and not isinstance(message, protocol.Detach):
            _check_may_type(self._place)
        if isinstance(message, protocol.Detach):
            # Who goes before hears first what there is to leave.
            self._going = True
            if self._greeted:
                self.leave()
        elif self._seat is None or self._turned:
            self._keep(message)
        elif self._greeted:
            self._pass_on(message, self._seat)
        else:
            self._pass_on_early(message, self._seat)

    def _keep(self, message: protocol.ClientMessage) -> None:
        """Keep a message, or none from now on: what comes behind one that is refused is, too."""
        if isinstance(message, protocol.Stdin):
            self._early_bytes += len(message.data or "") + len(message.base64 or "")
        if self._early_refused is not None:
            return
        if len(self._early) >= EARLY_MAX or self._early_bytes > EARLY_MAX_BYTES:
            # Told later: an error that comes before any answer would be the run's refusal.
            self._early_refused = TooLargeError(
                f"{len(self._early) + 1} messages and {self._early_bytes} bytes of stdin before "
                f"the run was found; the limits are {EARLY_MAX} messages and {EARLY_MAX_BYTES} "
                "bytes, and what came behind them was not taken"
            )
            return
        self._early.append(message)

    async def _serve(
        self, house: House, request: RunRequest | Attach, principal: Principal
    ) -> None:
        """Tell the client of its run until there is nothing more, or it goes."""
        try:
            if isinstance(request, Attach):
                seat = await self._attach(house, request)
            else:
                seat = await self._start(house, request, principal)
            await self._tell(seat)
            while self._turned:
                seat = await self._change_seat(house, seat)
                await self._tell(seat)
        except ReaderGoneError:
            pass
        except WsrunnerError as exc:
            await self._say_last(protocol.error_event(exc, self.id))
        except asyncio.CancelledError:
            if self._seat is not None:
                await self._say_last(self._detached())
        except Exception:
            log.exception("telling a client of a kept run failed")
            error = WsrunnerError("an error of the server; attach again")
            await self._say_last(protocol.error_event(error, self.id))
        finally:
            if self._seat is not None:
                self._seat.leave()
            if self._place is not None:
                self._place.listeners.discard(self._look_again)
            self._on_over(self)

    async def _start(self, house: House, request: RunRequest, principal: Principal) -> Seat:
        keep_s = 0.0 if request.keep_s is UNSET else request.keep_s
        place, began = self._place, None
        if place is not None:
            place.check_runs()
            if request.keep_s is UNSET:
                keep_s = min(ROOM_KEEP_S, place.room.settings.keep_s)

            def began(kept: Kept) -> None:
                run_id, room = kept.record.run_id, place.room
                place.begin_run(run_id, request.language)
                kept.followers.append(lambda readable: room.end_run(run_id, readable=readable))

        seat = await house.begin(
            wire.job_of(request),
            principal,
            keep_s=keep_s,
            once=None if request.once is UNSET else request.once,
            began=began,
        )
        self._sit(seat)
        return seat

    async def _attach(self, house: House, request: Attach) -> Seat:
        name = "" if request.once is UNSET else request.once
        if self._place is None:
            assert request.key is not UNSET
            seat = await house.attach(request.run, request.key, after=request.after, name=name)
        else:
            if request.run not in self._place.room.runs:
                raise NoSuchRunError(
                    f"room {self._place.room.id} has no run {request.run!r}", path="$.run"
                )
            role = _role_in(self._place)
            seat = await house.sit(request.run, role, after=request.after, name=name)
        self._sit(seat)
        await self._say(
            protocol.Attached(
                id=self.id,
                run=request.run,
                role=seat.role,
                stage=seat.show.stage,
                tty=seat.show.record.tty,
                stdin_bytes=seat.taken_bytes,
                eofs=seat.eofs,
            )
        )
        self._greeted = True
        return seat

    def _pass_on(self, message: protocol.ClientMessage, seat: Seat) -> None:
        _pass_on(message, seat)
        if self._place is not None and isinstance(message, protocol.Stdin):
            self._place.typed(seat.show.record.run_id)

    def _pass_on_early(self, message: protocol.ClientMessage, seat: Seat) -> None:
        """Pass a message on; what is wrong with it is told when the client has heard of its run."""
        try:
            self._pass_on(message, seat)
        except WsrunnerError as exc:
            seat.complain(exc)

    def _sit(self, seat: Seat) -> None:
        """Take a seat, and pass on what the client sent before."""
        self._seat = seat
        early, self._early = self._early, []
        for message in early:
            self._pass_on_early(message, seat)
        if self._early_refused is not None:
            seat.complain(self._early_refused)
            self._early_refused = None
        self._early_bytes = 0
        self._look_again()

    async def _change_seat(self, house: House, seat: Seat) -> Seat:
        """Sit on the seat that fits what the client may do by now, and go on where it was."""
        assert self._place is not None
        run_id, role = seat.show.record.run_id, _role_in(self._place)
        try:
            changed = await house.sit(run_id, role, after=seat.seq, name=seat.name)
        finally:
            seat.leave()
        self._turned = False
        self._sit(changed)
        return changed

    def _look_again(self) -> None:
        """See whether the client is in the room still, and may do there what its seat lets it."""
        place, seat = self._place, self._seat
        if place is None:
            return
        if place.is_over:
            self._going = True
            if self._greeted:
                self.leave()
        elif seat is not None and seat.role != _role_in(place):
            self._turned = True
            seat.interrupt()

    async def _tell(self, seat: Seat) -> None:
        """Tell all there is, up to the run's end, or until the client goes or its seat changes."""
        complaints: list[Item] = []
        while (
            not self._turned
            and not (self._going and self._greeted)
            and (items := await seat.next())
        ):
            if not self._greeted:
                # What is wrong with its early stdin says nothing of whether there is a run.
                complaints += [item for item in items if isinstance(item, WsrunnerError)]
                items = [item for item in items if not isinstance(item, WsrunnerError)]
                if items and not _is_refusal(items[0]):
                    await self._accept(seat)
                    items = complaints + items
            for item in items:
                if _is_end(item):
                    # The client may use the id again at once.
                    self._on_over(self)
                await self._outlet.send(self._words(item, seat), text=True)
                if _is_end(item):
                    self._turned = False
                    return
        if self._turned:
            return
        self._on_over(self)
        await self._say(self._detached())

    async def _accept(self, seat: Seat) -> None:
        record = seat.show.record
        await self._say(
            protocol.Accepted(id=self.id, run=record.run_id, drive=record.drive, view=record.view)
        )
        self._greeted = True

    def _words(self, item: Item, seat: Seat) -> bytes:
        """Return what is sent to tell of something; made once for those who view alike."""
        show = seat.show

        def make() -> bytes:
            return protocol.encode(wire.kept_message(item, self.id, show.record.run_id))

        if seat.role == "drive" or not isinstance(item, Entry):
            return make()
        return show.words((item.before_bytes, item.seq, self.id), make)

    def _detached(self) -> protocol.Detached:
        assert self._seat is not None
        return protocol.Detached(id=self.id, run=self._seat.show.record.run_id)

    async def _say(self, message: protocol.ServerMessage) -> None:
        await self._outlet.send(protocol.encode(message), text=True)

    async def _say_last(self, message: protocol.ServerMessage) -> None:
        """Say the last there is; the client may be gone, and may use the id again at once."""
        self._on_over(self)
        with contextlib.suppress(ReaderGoneError):
            await self._say(message)


def _is_refusal(item: Item) -> bool:
    return isinstance(item, Entry) and isinstance(item.event, Refused)


def _is_end(item: Item) -> bool:
    return isinstance(item, Entry) and isinstance(item.event, Exit | Refused)


def _role_in(place: Place) -> Role:
    return "drive" if place.works else "view"


def _check_may_type(place: Place) -> None:
    if not place.works:
        raise NotAllowedError(f"in room {place.room.id} this client may only watch")


def _pass_on(message: protocol.ClientMessage, seat: Seat) -> None:
    match message:
        case protocol.Stdin(data=data, base64=encoded, at=at):
            content = protocol.content_bytes(data, encoded, "$")
            seat.stdin(content, None if at is UNSET else at)
        case protocol.Eof():
            seat.eof()
        case protocol.SendSignal(signal=name):
            seat.signal(name)
        case protocol.Resize(columns=columns, rows=rows):
            seat.resize(columns, rows)
        case protocol.Cancel():
            seat.cancel()
        case _:
            raise BadMessageError("this is for a room, and the id is a run's", path="$.id")
