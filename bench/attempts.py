"""What `fuzz` tries: each attempt makes something by chance, hands it in, and looks at what comes.

An attempt raises where that is wrong: any exception but the ones that the docstrings promise, a
byte lost, a client left without an answer.
"""

from __future__ import annotations

import io
import random
import socket
import tarfile
from collections.abc import Callable

from wsrunner import protocol
from wsrunner.engines.base import STDERR, STDOUT, BadReportError, Frame, Report
from wsrunner.engines.dialogue.bootstrap import Reports
from wsrunner.engines.docker.frames import FrameReader
from wsrunner.errors import BadMessageError, WsrunnerError
from wsrunner.live.journal import Cursor, Entry, Gap, Journal
from wsrunner.live.letters import pack_entry, unpack_event
from wsrunner.runs.archive import Archive, BadArchiveError
from wsrunner.runs.archive import Piece as FilePiece
from wsrunner.runs.events import LeftOut, Output, Started
from wsrunner.serving import wire
from wsrunner.serving.inlet import Pace, Rates, cut

Attempt = Callable[[random.Random], None]

MESSAGES = [
    b'{"type":"run","id":"a","language":"python","code":"print(1)"}',
    (
        b'{"type":"run","language":"c","files":[{"name":"main.c","content":"int main(){}"},'
        b'{"name":"b/x","base64":"AAEC"}],"args":["-x"],"env":{"A":"b"},"stdin":"in","outputs":["*"]}'
    ),
    (
        b'{"type":"run","language":"bash","code":"","tty":{"columns":80,"rows":24},"keep_s":5,'
        b'"limits":{"wall_s":5,"cpu_s":5,"memory_mb":128,"output_kb":256,"pids":32},"once":"abcdefgh"}'
    ),
    b'{"type":"stdin","id":"a","data":"line\\n"}',
    b'{"type":"stdin","id":"a","base64":"gA==","at":7}',
    b'{"type":"attach","id":"a","run":"0123456789abcdef","key":"k","after":3}',
    b'{"type":"signal","id":"a","signal":"SIGINT"}',
    b'{"type":"resize","id":"a","columns":100,"rows":30}',
    b'{"type":"eof"}',
    b'{"type":"cancel","id":"a"}',
    b'{"type":"detach","id":"a"}',
]
WORDS = [
    *(b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"null", b"true", b"-1", b"1e999"),
    *(b"18446744073709551616", b"[]", b"{}", b'"', b"[" * 200, b"../", b"\r\n", b"\r\n\r\n", b":"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: websocket\r\n"),
    b"Host: a\r\n",
]
REQUESTS = [
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/languages HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n",
    (
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b'Content-Length: 31\r\n\r\n{"language":"no-such","code":""}'
    ),
    (
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    (
        b"GET /v1/run HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        b"\x81\x82\0\0\0\0{}\x89\x80\0\0\0\0\x01\x81\0\0\0\0{\x80\x81\0\0\0\0}\x88\x80\0\0\0\0"
    ),
]
MARK = b"\x1e" + b"0123456789abcdef" * 2
ANSWER_S = 20.0


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Return data with a few things wrong, or none."""
    result = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        at = chance.randrange(len(result) + 1)
        match chance.randrange(6):
            case 0:
                result[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del result[at : at + chance.randrange(1, 9)]
            case 2:
                result[at:at] = chance.choice(WORDS)
            case 3:
                result[at:at] = result[at : at + chance.randrange(1, 40)]
            case 4:
                del result[at:]
            case _:
                result[at : at + 4] = chance.randbytes(4)
    return bytes(result)


def pieces(chance: random.Random, data: bytes) -> list[bytes]:
    """Return data cut anywhere."""
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(5)))
    ends = [*places, len(data)]
    return [data[begin:end] for begin, end in zip([0, *places], ends, strict=True) if begin < end]


def message(chance: random.Random) -> None:
    """A client's message is taken, and means the same when it is written anew, or is refused."""
    data = mutated(chance, chance.choice(MESSAGES))
    try:
        decoded = protocol.decode(data, max_bytes=4096)
    except WsrunnerError as exc:
        protocol.encode(protocol.error_event(exc, protocol.salvage_id(data)))
        return
    again = protocol.decode(protocol.encode_request(decoded), max_bytes=2**20)
    assert again == decoded
    if isinstance(decoded, protocol.RunRequest):
        try:
            wire.job_of(decoded)
        except BadMessageError:
            return


def frames(chance: random.Random) -> None:
    """However what is read is cut, frames are given whole and every byte once."""
    sizes = [chance.choice((0, 1, 125, 126, 300)) for _ in range(chance.randrange(1, 6))]
    data = b"".join(
        bytes([0x80 | chance.choice((0, 1, 2, 8, 9, 10))])
        + (bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big"))
        + bytes(4 + size)
        for size in sizes
    )
    data = mutated(chance, data)
    pace, waiting, rest, given = Pace(Rates(), 0.0), b"", 0, 0
    for piece in pieces(chance, data):
        waiting += piece
        while True:
            found = cut(waiting, 0, rest, chance.randrange(1, 9), pace, 0.0)
            assert 0 <= found.end <= len(waiting)
            waiting, rest, given = waiting[found.end :], found.rest, given + found.end
            if found.complete or found.wait_s:
                break
            assert found.end or found.units == 0
    assert given + len(waiting) == len(data)


class _Transport:
    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def attach(chance: random.Random) -> None:
    """The engine's frames are taken apart without a byte lost, or the stream is corrupt."""
    parts = [
        (chance.choice((1, 2)), chance.randbytes(chance.choice((0, 1, 8, 200))))
        for _ in range(chance.randrange(1, 6))
    ]
    data = b"".join(bytes([s, 0, 0, 0]) + len(d).to_bytes(4, "big") + d for s, d in parts)
    spoilt = mutated(chance, data)
    reader = FrameReader(_Transport(), tty=False)
    for piece in pieces(chance, spoilt):
        reader.feed_data(piece)
    got = reader._frames  # noqa: SLF001 - `read` would wait
    if spoilt == data:
        assert not reader.corrupt
        for stream in (STDOUT, STDERR):
            wanted = b"".join(content for number, content in parts if number == stream)
            assert b"".join(frame.data for frame in got if frame.stream == stream) == wanted
    assert sum(len(frame.data) for frame in got) <= len(spoilt)


def report(chance: random.Random) -> None:
    """What is no report is not believed, and what is none of its bytes stays output."""
    line = MARK + b" run 3 exited 1000 2000 4096 0\n"
    told = mutated(chance, line)
    out, err = chance.randbytes(chance.randrange(50)), chance.randbytes(chance.randrange(50))
    streams = {STDOUT: out + MARK, STDERR: err + told}
    reports = Reports(MARK, tty=False)
    items: list[Frame | Report] = []
    try:
        for stream in chance.sample((STDOUT, STDERR), 2):
            for piece in pieces(chance, streams[stream]):
                items += reports.feed(Frame(stream, piece))
    except BadReportError:
        return
    if told == line:
        assert [item.code for item in items if isinstance(item, Report)] == [3]
        shown = {
            stream: b"".join(i.data for i in items if isinstance(i, Frame) and i.stream == stream)
            for stream in streams
        }
        assert shown == {STDOUT: out, STDERR: err}
    for item in items + reports.rest():
        assert isinstance(item, Frame) or item.code is None or 0 <= item.code <= 255


def journal(chance: random.Random) -> None:
    """A reader gets every event of a journal, or is told how many bytes it missed."""
    kept = Journal(chance.choice((300, 2000, 100_000)))
    reader = Cursor(kept, 0)
    got = 0
    for seq in range(1, chance.randrange(2, 40)):
        event = chance.choice(
            (
                Started(seq, "run"),
                Output(seq, chance.choice((1, 2)), chance.randbytes(chance.randrange(300))),
                LeftOut(seq, "x", "too_large", "too large"),
            )
        )
        kept.append(seq, event)
        content = pack_entry(Entry(seq, event, kept.output_bytes, 0))[1]
        assert unpack_event(content).event[1:] == event[1:]
        if chance.random() < 0.3:
            got += _read(reader, chance)
    while reader.seq < kept.last:
        got += _read(reader, chance)
    assert got == kept.output_bytes


def _read(reader: Cursor, chance: random.Random) -> int:
    """Return the bytes that a reader got or was told it missed."""
    got = 0
    for item in reader.take(chance.choice((1, 500, 5000))):
        if isinstance(item, Gap):
            assert item.missed_bytes is not None
            got += item.missed_bytes
        else:
            got += item.output_bytes
    return got


def archive(chance: random.Random) -> None:
    """What a program says are its files is taken apart, or is not believed."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for number in range(chance.randrange(3)):
            info = tarfile.TarInfo("x" * chance.choice((1, 120)) + str(number))
            info.size = chance.randrange(700)
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    spoilt = mutated(chance, made.getvalue() + b"end 0\n")
    taken = Archive()
    size = 0
    try:
        for piece in pieces(chance, spoilt):
            size += sum(len(i.data) for i in taken.feed(piece) if isinstance(i, FilePiece))
        taken.finish()
    except BadArchiveError:
        return
    assert size <= len(spoilt)


ATTEMPTS: dict[str, tuple[float, Attempt]] = {
    "messages": (0.50, message),
    "frames": (0.14, frames),
    "attach frames": (0.14, attach),
    "bootstrap reports": (0.12, report),
    "journal reads": (0.05, journal),
    "archives": (0.03, archive),
}
"""Name → (share of all attempts, attempt); the rest are requests to a server."""


def request(port: int) -> Attempt:
    """Return the attempt that sends a request to a server on this machine."""

    def ask(chance: random.Random) -> None:
        data = mutated(chance, chance.choice(REQUESTS))
        with socket.create_connection(("127.0.0.1", port), ANSWER_S) as connection:
            try:
                for piece in pieces(chance, data):
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except TimeoutError:
                raise
            except OSError:
                # It has had enough of what else was sent, and the connection is gone.
                return

    return ask
