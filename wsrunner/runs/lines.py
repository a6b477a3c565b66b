"""Bytes in, chunks out: whole lines, whole characters, and not too many messages.

Owns what is sent when. Pure: it is told the time and does no I/O. Imports nothing of wsrunner.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple

from wsrunner.units import KIB

CHUNK_MAX_BYTES = 32 * KIB
"""Most bytes in one chunk; a longer line comes in several."""
INTERVAL_S = 0.010
"""Least time between messages of a run that prints faster than that, unless a chunk is full."""
PAUSE_S = 0.020
"""After such a pause an unfinished line is shown as it is, so that a prompt appears."""
GROWING_S = 0.100
"""How long a line may grow without a pause before what there is of it is shown: a row of dots."""

CHARACTER_MAX_BYTES = 4
"""Of a character in UTF-8 (RFC 3629 section 3)."""


class Chunk(NamedTuple):
    """Output of one stream (1 stdout, 2 stderr) that belongs into one message."""

    stream: int
    data: bytes


class Batcher:
    """Cuts a run's output into chunks and says when they are due.

    Args:
        interactive: For a terminal: unfinished lines do not wait, as they are what somebody types.

    The first line after a quiet moment is due at once; then at most one message each `INTERVAL_S`
    or `CHUNK_MAX_BYTES`, whose rest waits for the next. Chunks keep the order in which their lines
    were completed, and never mix streams. All times are seconds of one monotonic clock.
    """

    __slots__ = (
        "_open",
        "_open_since",
        "_open_until",
        "_pause_s",
        "_ready",
        "_ready_bytes",
        "_sent_at",
    )

    def __init__(self, *, interactive: bool = False) -> None:
        self._pause_s = 0.0 if interactive else PAUSE_S
        self._ready: list[tuple[int, list[bytes]]] = []
        self._ready_bytes = 0
        self._open: dict[int, bytes] = {}
        self._open_since: dict[int, float] = {}
        self._open_until: dict[int, float] = {}
        self._sent_at = float("-inf")

    def __repr__(self) -> str:
        unfinished = {stream: len(data) for stream, data in self._open.items()}
        return f"<batcher ready={self._ready_bytes}B unfinished={unfinished}>"

    def feed(self, stream: int, data: bytes, now: float) -> None:
        """Take output, cut anywhere."""
        before = self._open.pop(stream, b"")
        cut = data.rfind(b"\n") + 1
        if cut:
            if before:
                self._push(stream, before)
            self._push(stream, data[:cut])
            rest = data[cut:]
        else:
            rest = before + data
        if len(rest) > CHUNK_MAX_BYTES:
            whole = whole_characters(rest)
            self._push(stream, rest[:whole])
            rest = rest[whole:]
        if rest:
            self._open[stream] = rest
            since = self._open_since.setdefault(stream, now)
            self._open_until[stream] = min(now + self._pause_s, since + GROWING_S)

    def due(self, now: float) -> list[Chunk]:
        """Return the chunks that are to be sent now, in order; often none."""
        for stream, until in list(self._open_until.items()):
            if now >= until:
                self._release(stream)
        full = self._ready_bytes >= CHUNK_MAX_BYTES
        if not self._ready or (now < self._sent_at + INTERVAL_S and not full):
            return []
        self._sent_at = now
        chunks = self._take()
        if full and len(chunks) > 1 and chunks[-2].stream == chunks[-1].stream:
            # What is left over comes with what follows, or after the interval: from a program that
            # prints much, every fourth message was such a rest.
            rest = chunks.pop()
            self._ready.append((rest.stream, [rest.data]))
            self._ready_bytes = len(rest.data)
        return chunks

    def deadline(self) -> float | None:
        """Return when `due` will have something, if nothing is fed; None for never."""
        times = list(self._open_until.values())
        if self._ready:
            times.append(self._sent_at + INTERVAL_S)
        return min(times) if times else None

    def finish(self) -> list[Chunk]:
        """Return all that is left, unfinished lines and characters too."""
        for stream, data in self._open.items():
            self._push(stream, data)
        self._open.clear()
        self._open_since.clear()
        self._open_until.clear()
        return self._take()

    def _release(self, stream: int) -> None:
        """Give up waiting for the end of a line, but not for the end of a character."""
        del self._open_since[stream], self._open_until[stream]
        data = self._open.pop(stream, b"")
        whole = whole_characters(data)
        if whole:
            self._push(stream, data[:whole])
        if whole < len(data):
            self._open[stream] = data[whole:]

    def _push(self, stream: int, data: bytes) -> None:
        self._open_since.pop(stream, None)
        self._open_until.pop(stream, None)
        if self._ready and self._ready[-1][0] == stream:
            self._ready[-1][1].append(data)
        else:
            self._ready.append((stream, [data]))
        self._ready_bytes += len(data)

    def _take(self) -> list[Chunk]:
        chunks = [
            Chunk(stream, piece)
            for stream, parts in self._ready
            for piece in split(b"".join(parts))
        ]
        self._ready = []
        self._ready_bytes = 0
        return chunks


def split(data: bytes) -> list[bytes]:
    """Cut data into pieces of at most `CHUNK_MAX_BYTES`, at line ends where there are any."""
    if len(data) <= CHUNK_MAX_BYTES:
        return [data]
    pieces = []
    at = 0
    while len(data) - at > CHUNK_MAX_BYTES:
        cut = data.rfind(b"\n", at, at + CHUNK_MAX_BYTES) + 1
        if cut <= at:
            cut = at + whole_characters(data[at : at + CHUNK_MAX_BYTES])
        pieces.append(data[at:cut])
        at = cut
    pieces.append(data[at:])
    return pieces


def whole_characters(data: bytes) -> int:
    """Return how many bytes of `data` do not belong to a UTF-8 character that its end cuts off.

    Bytes that can't become a character count as whole: stray continuations, overlong forms,
    surrogates, what lies beyond U+10FFFF (RFC 3629 section 4).
    """
    tail = data[-(CHARACTER_MAX_BYTES - 1) :]
    _, consumed = codecs.utf_8_decode(tail, "replace", False)
    held = tail[consumed:]
    if held[:1] == b"\xed" and held[1:] >= b"\xa0":
        # Half a surrogate: Python waits for the rest of it, only to refuse it then.
        return len(data)
    return len(data) - len(held)
