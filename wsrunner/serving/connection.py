"""One client's socket: its handshake, its share of the way in, and what it may leave unread.

Owns when what has come is parsed, and when no more is read. What it says is for `handshake` and the
sessions. The request comes first and alone, so that nothing behind it keeps it from being answered;
then frames, a few at a time: see `inlet`. Begins when `entrance` has the whole request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import HeaderLineTooLong, RequestLineTooLong, TooManyHeaders
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.protocol import Event, State
from websockets.typing import Data

from wsrunner.runs.job import Principal
from wsrunner.serving import answers
from wsrunner.serving.inlet import FRAME_BYTES, Inlet, Pace, cut
from wsrunner.serving.tls import end_sending
from wsrunner.units import KIB

log = logging.getLogger(__name__)

FAREWELL_S = 0.5
"""What a client gets for its half of the TCP connection's end, once either has said goodbye."""
PONGS_MAX_BYTES = 64 * KIB
"""Unread answers to a client's pings; `websockets` writes them without flow control."""
_QUOTED_MAX = 200
_CODES = {400: "bad_request", 414: "too_large", 431: "too_large"}
_STATUS: dict[type[Exception], int] = {
    RequestLineTooLong: 414,
    HeaderLineTooLong: 431,
    TooManyHeaders: 431,
}


class Connection(ServerConnection):
    """A connection whose client has its share, and can neither fill memory nor keep its runs.

    Args:
        inlet: What all connections share.

    Attributes:
        principal: Whose it is; set when the handshake may go on.
    """

    principal: Principal

    # An idle socket is little else than its attributes. CPython shares the table of names between
    # instances of up to 30; websockets' own are 27.
    __slots__ = (
        "_answered",
        "_at",
        "_data",
        "_farewell",
        "_finished_bytes",
        "_full",
        "_half_closed",
        "_heard_s",
        "_inlet",
        "_pace",
        "_paused",
        "_pending",
        "_reading",
        "_rest_bytes",
        "_unfinished_bytes",
        "_unread_pongs_bytes",
        "principal",
    )

    def __init__(self, *args: Any, inlet: Inlet, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inlet = inlet
        self._heard_s = self.loop.time()
        self._pace = Pace(inlet.rates, self._heard_s)
        self._half_closed = False
        self._answered = False
        # What has been read and not been parsed: from where on, and what of a frame that has been
        # parsed in part is to come. Only the first bytes of a header wait without a turn.
        self._data = b""
        self._at = 0
        self._rest_bytes = 0
        self._pending = False
        self._paused: asyncio.TimerHandle | None = None
        self._full = False
        self._reading = True
        # What the messages take that nobody has received: the unfinished one, the finished ones.
        self._unfinished_bytes = 0
        self._finished_bytes: list[int] = []
        self._unread_pongs_bytes = 0
        self._farewell: asyncio.TimerHandle | None = None

    def silent_s(self) -> float:
        """Return for how long nothing has come, not even a pong.

        0 while output waits to be read, as a pong waits behind it: how slow a client may be is for
        `slow_client_s` to say. And while what came has yet to be heard.
        """
        if self.transport.get_write_buffer_size() or not self._reading:
            return 0.0
        return self.loop.time() - self._heard_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the transport at its beginning."""
        super().connection_made(transport)
        self.recv_messages.pause = self._fill
        self.recv_messages.resume = self._empty

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport at its end."""
        for timer in (self._farewell, self._paused):
            if timer is not None:
                timer.cancel()
        self._pending = False
        super().connection_lost(exc)
        self._inlet.hold(self, 0)

    # The request.

    def begin(self, head: bytes, rest: bytes) -> None:
        """Take the request, whole, and what has come behind it; called once, before all else."""
        self._data = rest
        self._pending = bool(rest)
        super().data_received(head)
        self._regulate()

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self._heard_s = self.loop.time()
        if not self.protocol.eof_sent:
            self._data = self._data[self._at :] + data
            self._at = 0
            self._pending = True
            self._proceed(now=True)
        # Else it is read all the same: TCP would cut the answer short if it lay unread.

    def eof_received(self) -> bool | None:  # type: ignore[override]  # None in websockets
        """Called by the transport; a client that has asked may close its half and read on."""
        if self.protocol.state is State.CONNECTING and not self.protocol.eof_sent:
            self._half_closed = True
            return self.transport.can_write_eof()
        super().eof_received()
        return None

    def send_data(self) -> None:
        """Write what the protocol has to say; called after whatever makes it speak."""
        failure = self.protocol.handshake_exc
        if failure is not None and self.request is None:
            # No request to make out: `websockets` would say so in plain text, or nothing at all.
            self.protocol.data_to_send()
            if self._answered:
                return
            self._answered = True
            status = _STATUS.get(type(failure), 400)
            reason = str(failure.__cause__ or failure)[:_QUOTED_MAX]
            self.transport.write(answers.error(status, _CODES[status], reason).serialize())
            end_sending(self.transport)
            return
        super().send_data()
        if not self._answered and self.protocol.state is not State.CONNECTING:
            self._answered = True
            if self._half_closed:
                super().eof_received()
            self._proceed(now=False)
        if self.protocol.eof_sent:
            self._let_go()
            if self._half_closed:
                self.transport.close()

    # Frames.

    @property
    def wants_turn(self) -> bool:
        """Whether it could be given frames now; see `inlet.Taker`."""
        return (
            self._pending
            and not self._full
            and self._paused is None
            and self.protocol.state is not State.CONNECTING
        )

    def take_turn(self, units: int) -> int:
        """Parse what counts so much, or one frame; see `inlet.Taker`."""
        if not self.wants_turn:
            return 0
        now, begin = self.loop.time(), self._at
        found = cut(self._data, begin, self._rest_bytes, units, self._pace, now)
        self._at, self._rest_bytes, self._pending = found.end, found.rest, not found.complete
        if found.wait_s:
            self._paused = self.loop.call_later(found.wait_s, self._go_on)
        if found.end > begin:
            self._parse(self._data[begin : found.end])
        if self._at == len(self._data):
            self._data, self._at = b"", 0
        self._note_held()
        self._regulate()
        return found.units

    def _parse(self, data: bytes) -> None:
        """Give data to the protocol, which answers pings and close frames by itself."""
        before = self.transport.get_write_buffer_size()
        super().data_received(data)
        unsent = self.transport.get_write_buffer_size()
        self._unread_pongs_bytes = self._unread_pongs_bytes + unsent - before if unsent else 0
        if self._unread_pongs_bytes > PONGS_MAX_BYTES:
            log.info("dropped a client that pings and does not read")
            self.transport.abort()
        if self.protocol.close_rcvd is not None:
            # Behind output that it no longer reads, the close frame's answer would not get through.
            self._cut_soon()

    def process_event(self, event: Event) -> None:
        """Called for each frame, and for the request."""
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            self._unfinished_bytes += len(event.data) + FRAME_BYTES
            if event.fin:
                self._finished_bytes.append(self._unfinished_bytes)
                self._unfinished_bytes = 0
        super().process_event(event)

    async def recv(self, decode: bool | None = None) -> Data:  # type: ignore[override]  # noqa: FBT001
        """Return the next message; see `websockets`. Cancelling is safe."""
        message = await super().recv(decode)
        del self._finished_bytes[:1]
        self._note_held()
        return message

    def overdraw(self, reason: str) -> None:
        """Close with 1013 and forget what came; see `inlet.Taker`."""
        log.info("closed a socket: %s", reason)
        self.protocol.fail(CloseCode.TRY_AGAIN_LATER, reason)
        self.send_data()
        self._forget()
        # Its session hears of it when the connection is lost.
        self._cut_soon()

    def _forget(self) -> None:
        """Free all messages that nobody has received; none comes any more."""
        self.protocol.reader.discard()
        self.recv_messages.close()
        # What a `recv` that waits holds of an unfinished one comes back into the queue before.
        self.loop.call_soon(self.recv_messages.frames.queue.clear)
        self._finished_bytes.clear()

    def _proceed(self, *, now: bool) -> None:
        if self.wants_turn:
            self._inlet.ask(self, now=now)
        self._regulate()

    def _go_on(self) -> None:
        self._paused = None
        self._proceed(now=False)

    def _fill(self) -> None:
        """Hear nothing more until the session has dealt with what came."""
        self._full = True
        self._regulate()

    def _empty(self) -> None:
        self._full = False
        self._proceed(now=False)

    def _regulate(self) -> None:
        """Read on if all that was read has been heard, else not."""
        reading = not (self._pending or self._full)
        if reading != self._reading and not self.transport.is_closing():
            self._reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _note_held(self) -> None:
        unparsed = len(self._data) + len(self.protocol.reader.buffer)
        self._inlet.hold(self, unparsed + self._unfinished_bytes + sum(self._finished_bytes))

    def _let_go(self) -> None:
        """Forget what came and was not heard; the server has said its last."""
        self._data, self._at, self._pending, self._full = b"", 0, False, False
        self._unfinished_bytes = 0
        self._inlet.hold(self, 0)
        self._regulate()

    def _cut_soon(self) -> None:
        if self._farewell is None:
            self._farewell = self.loop.call_later(FAREWELL_S, self.transport.abort)
