"""A WebSocket client of as little as can be."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections import deque
from typing import Any, NamedTuple, Self

from bench.kit.timing import Timing
from wsrunner.units import KIB, MIB

_EXIT = b'{"type":"exit"'
_ERROR = b'{"type":"error"'
_PING, _PONG, _CLOSE = 0x9, 0xA, 0x8
_SMALL_BYTES = 4096


class Socket:
    """A WebSocket client of as little as can be (RFC 6455): text out, frames in, pings answered."""

    def __init__(self, port: int, path: str = "/v1/run", receive_buffer_bytes: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._messages: deque[bytes] = deque()
        self.pong_s = 0.0
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise ConnectionError(head.decode())
        self._buffer = bytearray(rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def settimeout(self, timeout_s: float | None) -> None:
        self._socket.settimeout(timeout_s)

    def send(self, **message: Any) -> None:
        """Send one JSON message."""
        self._send(0x1, json.dumps(message).encode())

    def ping(self) -> None:
        self._send(_PING, b"")

    def _send(self, opcode: int, data: bytes) -> None:
        # A client must mask; with a key of zeros the data stays as it is.
        size = len(data)
        head = bytes((0x80 | opcode,))
        if size < 126:
            head += bytes((0x80 | size,))
        elif size < 65536:
            head += struct.pack(">BH", 0x80 | 126, size)
        else:
            head += struct.pack(">BQ", 0x80 | 127, size)
        self._socket.sendall(head + b"\0\0\0\0" + data)

    def _receive(self) -> None:
        data = self._socket.recv(256 * KIB)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data

    def pump(self) -> None:
        """Take what has come, one read's worth; `pop` has the messages then."""
        self._receive()
        self._parse()

    def drop(self) -> None:
        """Take what has come, one read's worth, and throw it away, pings too."""
        self._receive()
        self._buffer.clear()

    def pop(self) -> bytes | None:
        """Return the next message, None if none is complete."""
        return self._messages.popleft() if self._messages else None

    def receive(self) -> bytes:
        """Return the next message; waits for it."""
        while not self._messages:
            self.pump()
        return self._messages.popleft()

    def _parse(self) -> None:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while (frame := _frame_at(buffer, at, end)) and frame.end <= end:
            self._take(frame.opcode, bytes(buffer[frame.begin : frame.end]))
            at = frame.end
        del buffer[:at]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode < _CLOSE:
            self._messages.append(payload)
        elif opcode == _PING:
            self._send(_PONG, payload)
        elif opcode == _PONG:
            self.pong_s = time.perf_counter()
        else:
            raise ConnectionError(f"closed: {payload!r}")

    def skim(self) -> bytes:
        """Take messages until an exit or error and return that one; skip the large, uncopied."""
        buffer = bytearray(MIB)
        view = memoryview(buffer)
        end = len(self._buffer)
        view[:end] = self._buffer
        self._buffer.clear()
        skip = 0
        while True:
            at = min(skip, end)
            skip -= at
            while not skip and (frame := _frame_at(buffer, at, end)):
                if frame.end > end and frame.end - frame.begin < _SMALL_BYTES:
                    break
                if frame.end <= end and frame.end - frame.begin < _SMALL_BYTES:
                    self._take(frame.opcode, bytes(view[frame.begin : frame.end]))
                at, skip = min(frame.end, end), max(0, frame.end - end)
            held = end - at
            view[:held] = bytes(view[at:end])
            while (message := self.pop()) is not None:
                if message.startswith((_EXIT, _ERROR)):
                    self._buffer += view[:held]
                    return message
            size = self._socket.recv_into(view[held:])
            if not size:
                raise ConnectionError("the server closed the connection")
            end = held + size

    def run(self, **request: Any) -> Timing:
        """Run a program; return when its first line came and when its exit."""
        begun_s = time.perf_counter()
        self.send(type="run", **request)
        first_s = 0.0
        while True:
            message = self.receive()
            if not first_s and message.startswith(b'{"type":"stdout"'):
                first_s = time.perf_counter() - begun_s
            elif message.startswith((_EXIT, _ERROR)):
                end_s = time.perf_counter() - begun_s
                event = json.loads(message)
                if event.get("reason") != "exited" or event["code"] != 0:
                    raise RuntimeError(f"the run failed: {event}")
                return Timing(first_s or end_s, end_s)


class _WireFrame(NamedTuple):
    """A frame's place in a buffer that may not hold all of it yet."""

    opcode: int
    begin: int
    end: int


def _frame_at(buffer: bytearray, at: int, end: int) -> _WireFrame | None:
    """Return the unmasked frame that begins at `at`; None if its header is not whole."""
    if end - at < 2:
        return None
    size, extra = buffer[at + 1], 0
    if size >= 126:
        extra = 2 if size == 126 else 8
        if end - at < 2 + extra:
            return None
        size = int.from_bytes(buffer[at + 2 : at + 2 + extra])
    begin = at + 2 + extra
    return _WireFrame(buffer[at] & 0x0F, begin, begin + size)
