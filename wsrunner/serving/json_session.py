"""One socket's conversation in the JSON protocol: many runs over one socket.

Owns what happens between a socket's opening and its end: which run a message is about, and what its
client is told. The course of a run is `runs.run`'s, its task the registry's.

`converse` reads and decodes messages, and passes stdin, signals and cancel on without waiting; who
comes into a room waits for its home. A
client that takes no output for `slow_client_s` is dropped with 4408: `send` waits for it no longer,
and leaving `converse` ends its runs.
"""

from __future__ import annotations

import asyncio

from msgspec import UNSET, UnsetType
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from wsrunner import protocol
from wsrunner.errors import (
    BadMessageError,
    IdBusyError,
    NoSuchRoomError,
    NoSuchRunError,
    NotAllowedError,
    WsrunnerError,
)
from wsrunner.live.house import House
from wsrunner.protocol import (
    Attach,
    Cancel,
    Detach,
    Eof,
    Forget,
    Resize,
    RunRequest,
    SendSignal,
    Stdin,
)
from wsrunner.rooms.hall import Hall
from wsrunner.rooms.seat import Seat as Place
from wsrunner.runs.delivery import ReaderGoneError
from wsrunner.runs.events import Event, Exit, Refused
from wsrunner.runs.job import Principal
from wsrunner.runs.registry import Registry
from wsrunner.runs.run import Run
from wsrunner.serving import wire
from wsrunner.serving.guest import Guest
from wsrunner.serving.occupant import Occupant
from wsrunner.serving.outlet import Outlet
from wsrunner.serving.rate import RateLimiter
from wsrunner.units import KIB
from wsrunner.words import rooms as words

RUNS_PER_SOCKET_MAX = 100


class JsonSession:
    """The JSON protocol on one socket.

    Args:
        connection: An accepted WebSocket.
        registry: Starts the runs.
        house: Has those that are kept.
        hall: Has the rooms.
        rate: How many runs a client may start.
        principal: Who is at the other end.
    """

    def __init__(
        self,
        connection: ServerConnection,
        registry: Registry,
        house: House,
        hall: Hall,
        rate: RateLimiter,
        *,
        principal: Principal,
    ) -> None:
        self._connection = connection
        self._registry = registry
        self._house = house
        self._hall = hall
        self._rate = rate
        self._principal = principal
        self._outlet = Outlet(connection, registry.host.settings.slow_client_s)
        self._runs: dict[str | UnsetType, RunReader | Guest | Occupant] = {}
        # A run whose exit has been told may still have a container.
        self._started: set[Run] = set()

    async def converse(self) -> None:
        """Serve the socket until it closes, then end what still runs on it."""
        max_bytes = self._registry.host.settings.message_kb * KIB
        try:
            async for message in self._connection:
                try:
                    answer = await self._handle(protocol.decode(message, max_bytes=max_bytes))
                except WsrunnerError as exc:
                    answer = protocol.error_event(exc, protocol.salvage_id(message))
                if answer is not None:
                    await self._outlet.send(protocol.encode(answer), text=True)
        except (ConnectionClosed, ReaderGoneError):
            pass
        finally:
            for reader in list(self._runs.values()):
                if not isinstance(reader, RunReader):
                    reader.leave()
            await self._registry.abandon(self._started)

    async def _handle(
        self, message: protocol.ClientMessage
    ) -> protocol.Error | protocol.Forgotten | None:
        """Act on one message; waits only for what other replicas have to say.

        Returns:
            What is to be answered.

        Raises:
            WsrunnerError: It can't be done; the message says why.
        """
        if self._principal.guest:
            _check_guest(message)
        if isinstance(message, RunRequest | Attach):
            self._start(message)
            return None
        if isinstance(message, Forget):
            return await self._forget_workspace(message)
        if isinstance(message, words.Open | words.Join):
            await self._enter(message)
            return None
        reader = self._find(message.id)
        if isinstance(reader, Guest | Occupant):
            reader.take(message)
        else:
            _tell(reader.run, message)
        return None

    async def _forget_workspace(self, message: Forget) -> protocol.Forgotten:
        await self._registry.host.workspaces.forget(self._principal, message.workspace)
        return protocol.Forgotten(id=message.id, workspace=message.workspace)

    async def _enter(self, request: words.Open | words.Join) -> None:
        """Open a room, or come into one.

        Raises:
            ReaderGoneError: The client has gone. It may have come as the same person by another
                socket, and must not be sent away there by what is left of this one.
        """
        self._check_room(request)
        if self._connection.state is not State.OPEN:
            raise ReaderGoneError
        occupant = Occupant(self._outlet, request.id, on_over=self.forget)
        entering = asyncio.create_task(occupant.begin(self._hall, request, self._principal))
        leaving = asyncio.create_task(self._connection.wait_closed())
        try:
            await asyncio.wait((entering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not entering.done():
                raise ReaderGoneError
            entering.result()
        finally:
            leaving.cancel()
            entering.cancel()
        self._runs[request.id] = occupant

    def _find(self, run_id: str | UnsetType) -> RunReader | Guest | Occupant:
        if run_id not in self._runs:
            raise NoSuchRunError(f"no run {_named(run_id)} is live on this socket", path="$.id")
        return self._runs[run_id]

    def _start(self, request: RunRequest | Attach) -> None:
        try:
            place = self._place_in(request.room)
            self._check_room(request)
        except WsrunnerError as exc:
            if isinstance(request, RunRequest):
                self._registry.host.tell_refused(exc)
            raise
        if isinstance(request, Attach) or request.is_kept:
            guest = Guest(self._outlet, request.id, on_over=self.forget, place=place)
            self._runs[request.id] = guest
            guest.begin(self._house, request, self._principal)
            return
        reader = RunReader(self, self._outlet, request.id)
        reader.run = self._registry.start(wire.job_of(request), self._principal, reader)
        self._runs[request.id] = reader
        self._started.add(reader.run)

    def _place_in(self, room_id: str | UnsetType) -> Place | None:
        """Return this client's seat in a room; None where no room is meant."""
        if room_id is UNSET:
            return None
        for reader in self._runs.values():
            if isinstance(reader, Occupant) and reader.seat.room.id == room_id:
                return reader.seat
        raise NoSuchRoomError(f"this socket is not in a room {room_id!r}", path="$.room")

    def _check_room(self, request: RunRequest | Attach | words.Open | words.Join) -> None:
        """Refuse a run that this socket, or its client, has no room for.

        Raises:
            IdBusyError, RateLimitedError: See the messages.
        """
        if request.id in self._runs:
            raise IdBusyError(
                f"the run {_named(request.id)} is still live on this socket", path="$.id"
            )
        if len(self._runs) >= RUNS_PER_SOCKET_MAX:
            raise IdBusyError(
                f"{len(self._runs)} runs are live on this socket; the limit is "
                f"{RUNS_PER_SOCKET_MAX} runs"
            )
        if isinstance(request, RunRequest):
            self._rate.admit(self._principal)

    def forget(self, reader: RunReader | Guest | Occupant) -> None:
        """Let the client use the id again."""
        if self._runs.get(reader.id) is reader:
            del self._runs[reader.id]

    def over(self, run: Run) -> None:
        """Nothing is left of a run."""
        self._started.discard(run)


class RunReader:
    """Tells a client of one of its runs.

    Args:
        session: Whose run it is.
        outlet: The client's socket.
        id: The client's name for it.

    Attributes:
        run: What it reads; set when it has been started.
    """

    __slots__ = ("_outlet", "_session", "_wording", "id", "run")

    run: Run

    def __init__(self, session: JsonSession, outlet: Outlet, id: str | UnsetType) -> None:  # noqa: A002
        self.id = id
        self._session = session
        self._outlet = outlet
        self._wording = wire.Wording(id)

    async def send(self, event: Event) -> None:
        """See `Reader.send`."""
        message = self._wording.message(event, self.run.run_id)
        if isinstance(event, Exit | Refused):
            # Its container may still be there, but the client may use the id again at once.
            self._session.forget(self)
        await self._outlet.send(protocol.encode(message), text=True)

    async def drop(self) -> None:
        """See `Reader.drop`."""
        await self._outlet.drop()

    def over(self) -> None:
        """See `Reader.over`."""
        self._session.forget(self)
        self._session.over(self.run)


def _check_guest(message: protocol.ClientMessage) -> None:
    """Hold who came by a room's link to that room."""
    outside = isinstance(message, Forget) or (
        isinstance(message, RunRequest | Attach) and message.room is UNSET
    )
    if outside or (isinstance(message, RunRequest) and message.workspace is not UNSET):
        raise NotAllowedError("who came by a room's link has that room alone", path="$.room")


def _named(run_id: str | UnsetType) -> str:
    return "without id" if isinstance(run_id, UnsetType) else repr(run_id)


def _tell(run: Run, message: protocol.ClientMessage) -> None:
    """Pass on what a client has for one of its runs.

    Raises:
        WsrunnerError: It can't be done; the message says why.
    """
    match message:
        case Stdin(at=int()):
            raise BadMessageError("only the stdin of a kept run has an at", path="$.at")
        case Detach():
            raise BadMessageError("only a kept run goes on without its socket", path="$.id")
        case Stdin(data=data, base64=encoded):
            run.input.stdin(protocol.content_bytes(data, encoded, "$"))
        case Eof():
            run.input.eof()
        case SendSignal(signal=name):
            run.input.signal(name)
        case Resize(columns=columns, rows=rows):
            run.input.resize(columns, rows)
        case Cancel():
            run.end("cancelled")
        case _:
            raise BadMessageError("this is for a room, and the id is a run's", path="$.id")
