"""The attach stream of a container, taken apart into frames as it comes.

The format is that of the Docker Engine API 1.41 (``POST /containers/{id}/attach``): a header of
eight bytes, stream and size, before each frame; with a terminal there are none.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

from wsrunner.engines.base import STDERR, STDOUT, Frame
from wsrunner.units import KIB

READ_HIGH_BYTES = 512 * KIB
"""Unread output after which the attach stream is paused, so that the program blocks."""

_HEADER = struct.Struct(">LL")
_STREAMS = {stream << 24: stream for stream in range(3)}
"""A frame's stream (0 is stdin) by the header's first four bytes, of which three are zero."""
_FRAME_MAX_BYTES = 2**20
"""Far more than any engine puts in one: Docker 32 KiB, what its copy loop reads at once."""


class FrameReader:
    """Takes the attach stream's bytes from aiohttp as they come and hands out whole frames.

    In place of aiodocker's own queue, which wakes its reader once per frame: an unbuffered writer
    makes 100,000 frames a second, so frames of one read are parsed together and neighbours of one
    stream joined.
    """

    def __init__(self, protocol: Any, *, tty: bool) -> None:
        self._protocol = protocol
        self._tty = tty
        self._partial = bytearray()
        self._frames: list[Frame] = []
        self._unread_bytes = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False
        self.corrupt = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called by aiohttp's protocol with each piece it received."""
        if self.corrupt:
            pass
        elif self._tty:
            self._frames.append(Frame(STDOUT, bytes(data)))
            self._unread_bytes += len(data)
        else:
            self._parse(data)
        # Also while nobody waits for output: what comes meanwhile is then read at one go.
        waited_for = self._waiter is not None
        if not self._paused and (not waited_for or self._unread_bytes > READ_HIGH_BYTES):
            self._paused = True
            self._protocol.pause_reading()
        self.wake()
        return False, b""

    def _parse(self, data: bytes) -> None:
        if self._partial:
            self._partial += data
            data = bytes(self._partial)
            self._partial.clear()
        view = memoryview(data)
        at, end = 0, len(data)
        stream, pieces = 0, list[memoryview]()
        while end - at >= _HEADER.size:
            word, size = _HEADER.unpack_from(data, at)
            next_stream = _STREAMS.get(word)
            if next_stream is None or size > _FRAME_MAX_BYTES:
                # Whatever follows can't be told apart any more.
                self.corrupt = self.ended = True
                at = end
                break
            begin = at + _HEADER.size
            if end - begin < size:
                break
            if next_stream != stream:
                self._append(stream, pieces)
                stream, pieces = next_stream, []
            pieces.append(view[begin : begin + size])
            at = begin + size
        self._append(stream, pieces)
        if at < end:
            self._partial += view[at:]

    def _append(self, stream: int, pieces: list[memoryview]) -> None:
        if pieces:
            joined = b"".join(pieces)
            self._unread_bytes += len(joined)
            self._frames.append(Frame(STDERR if stream == STDERR else STDOUT, joined))

    def feed_eof(self) -> None:
        """Called by aiohttp's protocol at the end of the stream."""
        self.ended = True
        self.wake()

    def set_exception(self, exc: BaseException, *_: Any) -> None:
        """Called by aiohttp's protocol when the connection broke: the same as its end here."""
        del exc
        self.feed_eof()

    def wake(self) -> None:
        """Have who waits look again; where nothing has come, its time is over."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self, timeout_s: float | None) -> Sequence[Frame]:
        """See `Container.read`."""
        if not self._frames and not self.ended:
            # What came while nobody waited may have been less than a frame.
            self._resume()
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if timeout_s is None else loop.call_later(max(0.0, timeout_s), self.wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
            if not self._frames and not self.ended:
                raise TimeoutError
        frames, self._frames = self._frames, []
        self._unread_bytes = 0
        self._resume()
        return frames

    def discard(self) -> bool:
        """Drop what has come and was not read; return whether there was anything."""
        frames, self._frames = self._frames, []
        self._unread_bytes = 0
        return bool(frames)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._protocol.resume_reading()
