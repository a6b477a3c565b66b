"""The way in of all sockets: whose turn it is to be heard, and what their messages may hold.

Owns the shares of the sockets in a turn of the event loop and in memory. Knows frames (RFC 6455
section 5.2) as far as where they end; must not know what messages say, nor touch sockets.

One read may hold tens of thousands of frames, and one client may always have a further read ready.
So a socket is given its frames a few at a time: between two turns the event loop comes round, and
others are heard and answered.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple, Protocol

from wsrunner.bucket import Bucket
from wsrunner.units import KIB

SHARE_UNITS = 8
"""What one socket may be given in a turn of the event loop; a frame counts 1, see `UNIT_BYTES`."""
TURN_UNITS = 32
"""What all sockets together may be given in a turn: 2 to 3 ms if each is answered with an error."""
UNIT_BYTES = 8 * KIB
"""Bytes that count as much as a frame."""
PINGS_PER_S = 200.0
PINGS_BURST = 1000.0
"""Pings and pongs of a client, which cost it nothing; apart from messages, which wait for none."""
BURST_S = 5.0
"""For how many seconds' messages a client may be ahead of its rate."""
PAUSE_MIN_S = 0.01
"""Shortest wait for a rate in bytes: no timer for each frame."""
FRAME_BYTES = 300
"""What a frame takes beside its content (CPython 3.11: the object, its attributes, its bytes)."""

_HEADER_BYTES = 2
_MASK_BYTES = 4
_LENGTH_BYTES = {126: 2, 127: 8}
_CLOSE, _CONTROL = 0x8, 0x8


class Cut(NamedTuple):
    """What a socket may be given of the data that waits.

    Attributes:
        end: Where that ends in the data.
        rest: Bytes of the last frame that are still to come after that.
        units: What it counts.
        wait_s: After how long there may be more, where the rate stands against it; else 0.
        complete: Whether what remains, if anything, is but the first bytes of a header.
    """

    end: int
    rest: int
    units: int
    wait_s: float
    complete: bool


class Rates(NamedTuple):
    """What one client may send a second over time, in frames with content; 0 for no limit.

    Attributes:
        messages_per_s: How many.
        bytes_per_s: How much, with their headers.
    """

    messages_per_s: int = 0
    bytes_per_s: int = 0


class Pace:
    """How fast one client may send.

    Args:
        rates: What that is over time.
        now: The present, in seconds of the event loop's clock.
    """

    __slots__ = ("_bytes", "_messages", "_pings")

    def __init__(self, rates: Rates, now: float) -> None:
        self._messages = _bucket(rates.messages_per_s, now)
        self._bytes = _bucket(rates.bytes_per_s, now)
        self._pings = Bucket(PINGS_PER_S, PINGS_BURST, now)

    def take(self, opcode: int, size_bytes: int, now: float) -> float:
        """Take one frame; returns 0, or the seconds until the next few may be taken.

        One frame may owe more bytes than there are, however large it is: those after it wait.
        """
        # A close frame is the last there is.
        if opcode >= _CLOSE:
            return _take(self._pings, now) if opcode > _CLOSE else 0.0
        if self._bytes is not None and (wait_s := self._bytes.wait_s(1, now)):
            return max(wait_s, PAUSE_MIN_S)
        if self._messages is not None and (wait_s := _take(self._messages, now)):
            return wait_s
        if self._bytes is not None:
            self._bytes.owe(size_bytes, now)
        return 0.0


def _bucket(per_s: int, now: float) -> Bucket | None:
    return Bucket(per_s, max(1.0, per_s * BURST_S), now) if per_s else None


def _take(bucket: Bucket, now: float) -> float:
    if bucket.take(now):
        return 0.0
    return max(bucket.wait_s(1, now), min(bucket.wait_s(SHARE_UNITS, now), 0.05))


def cut(data: bytes, at: int, rest: int, units: int, pace: Pace, now: float) -> Cut:  # noqa: PLR0917
    """Find out how much of `data` from `at` on a socket may be given.

    Args:
        data: What has come, beginning anywhere.
        at: Where what has not been given yet begins.
        rest: Bytes of the frame there that are to come; 0 at a frame's beginning.
        units: What it may count; at least one frame is given if there is one.
        pace: What its client may send.
        now: The present, in seconds of the event loop's clock.
    """
    used, wait_s, size = 0, 0.0, len(data)
    while True:
        if rest:
            taken = min(rest, size - at)
            used += taken // UNIT_BYTES
            at, rest = at + taken, rest - taken
        if at == size:
            return Cut(at, rest, used, 0.0, complete=True)
        length = _frame_bytes(data, at)
        if length is None:
            return Cut(at, 0, used, 0.0, complete=True)
        if used < units:
            wait_s = pace.take(data[at] & 0x0F, length, now)
        if used >= units or wait_s:
            return Cut(at, 0, used, wait_s, complete=False)
        used, rest = used + 1, length


def _frame_bytes(data: bytes, at: int) -> int | None:
    """Return the size of the frame that begins there, header and all; None if that's cut off."""
    if len(data) - at < _HEADER_BYTES:
        return None
    masked, length = data[at + 1] & 0x80, data[at + 1] & 0x7F
    extended = _LENGTH_BYTES.get(length, 0)
    header = _HEADER_BYTES + extended + (_MASK_BYTES if masked else 0)
    if len(data) - at < header:
        return None
    if extended:
        length = int.from_bytes(data[at + _HEADER_BYTES : at + _HEADER_BYTES + extended], "big")
    return header + length


class Taker(Protocol):
    """A socket with something that waits."""

    def take_turn(self, units: int) -> int:
        """Take what counts so much, or one frame; returns what it counted."""
        ...

    @property
    def wants_turn(self) -> bool:
        """Whether there is more that it could take now."""
        ...

    def overdraw(self, reason: str) -> None:
        """Give up all it holds, and say this to its client."""
        ...


class Inlet:
    """Gives sockets their turns, one after the other, and bounds what they hold together.

    Args:
        held_most_bytes: What all messages that have not been dealt with may take.
        rates: What one client may send over time.
    """

    def __init__(self, held_most_bytes: int, rates: Rates) -> None:
        self._loop = asyncio.get_running_loop()
        self.rates = rates
        self._waiting: OrderedDict[Taker, None] = OrderedDict()
        self._left = TURN_UNITS
        self._turn: asyncio.Handle | None = None
        self._held_most_bytes = held_most_bytes
        self._held: dict[Taker, int] = {}
        self.held_bytes = 0

    def ask(self, taker: Taker, *, now: bool) -> None:
        """Give a socket its turn: at once, if there is room and it may be now; else in its order.

        Asking again while it waits changes nothing.
        """
        if self._turn is None:
            self._left = TURN_UNITS
            self._turn = self._loop.call_soon(self._next)
        if now and self._left > 0 and not self._waiting:
            self._give(taker)
        elif taker not in self._waiting:
            self._waiting[taker] = None

    def _next(self) -> None:
        """Begin a turn of the event loop: those who wait come first."""
        self._turn = None
        self._left = TURN_UNITS
        # Each once: what it is given is to be dealt with before it is given more.
        for _ in range(len(self._waiting)):
            if self._left <= 0:
                break
            taker, _ = self._waiting.popitem(last=False)
            self._give(taker)
        if self._waiting and self._turn is None:
            self._turn = self._loop.call_soon(self._next)

    def _give(self, taker: Taker) -> None:
        self._left -= taker.take_turn(min(SHARE_UNITS, self._left))
        if taker.wants_turn:
            self._waiting[taker] = None

    def hold(self, taker: Taker, size_bytes: int) -> None:
        """Note what a socket holds now; the one that holds most gives way where it is too much."""
        self.held_bytes += size_bytes - self._held.get(taker, 0)
        if size_bytes:
            self._held[taker] = size_bytes
        else:
            self._held.pop(taker, None)
        while self.held_bytes > self._held_most_bytes:
            most = max(self._held, key=self._held.__getitem__)
            reason = (
                f"messages on their way in hold {self.held_bytes} bytes over all sockets; "
                f"the limit is {self._held_most_bytes} bytes"
            )
            self.held_bytes -= self._held.pop(most)
            most.overdraw(reason)
