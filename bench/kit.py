"""What the benches share: a real server, a raw WebSocket, the raw engine, statistics, tables.

The instruments are blocking sockets of one process and one clock, so that they add as little as can
be to either side of a comparison. A bench measures a thing and its baseline in turns and reports
the ratio pair by pair: on a noisy machine both halves of a pair have met the same noise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import json
import os
import platform
import random
import secrets
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

import wsrunner
from wsrunner import languages, settings
from wsrunner.engines.base import STDERR, STDOUT, Box
from wsrunner.engines.dialogue import bootstrap
from wsrunner.engines.docker.config import LABEL_INSTANCE
from wsrunner.engines.docker.engine import DockerEngine
from wsrunner.protocol import RunRequest
from wsrunner.runs.order import Order, make_order
from wsrunner.serving.wire import job_of
from wsrunner.units import KIB, MIB

REMOVAL_S = 30.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
RESULTS = Path(__file__).parent / "results"
_FRAME = struct.Struct(">BxxxL")
_EXIT = b'{"type":"exit"'
_ERROR = b'{"type":"error"'
_PING, _PONG, _CLOSE = 0x9, 0xA, 0x8
_SMALL_BYTES = 4096


# Numbers.


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return median, quartiles, p99, extremes and count."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "median": statistics.median(ordered),
        "p25": quantile(ordered, 0.25),
        "p75": quantile(ordered, 0.75),
        "p99": quantile(ordered, 0.99),
        "min": ordered[0],
        "max": ordered[-1],
    }


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the ordered values do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def ratio(measured: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the median of the ratios, pair by pair."""
    return statistics.median(a / b for a, b in zip(measured, baseline, strict=True))


def interleave(rounds: int, *takers: Callable[[], None], say: str = "") -> None:
    """Call each of `takers` once a round, beginning with another one each round."""
    for number in range(rounds):
        progress(f"{say} {number + 1}/{rounds}")
        first = number % len(takers)
        for take in (*takers[first:], *takers[:first]):
            take()
    progress("")


def take_in_turns(
    rounds: int, ways: Mapping[str, Callable[[], Timing]], *, say: str = ""
) -> dict[str, list[Timing]]:
    """Return what each way took in each of `rounds`; a first one, for caches, is not counted."""
    for take in ways.values():
        take()
    series: dict[str, list[Timing]] = {name: [] for name in ways}

    def taker(name: str) -> Callable[[], None]:
        return lambda: series[name].append(ways[name]())

    interleave(rounds, *(taker(name) for name in ways), say=say)
    return series


def progress(text: str) -> None:
    """Show on a terminal what is being done; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Figure:
    """One row of a bench's table.

    Attributes:
        what: What was measured.
        unit: Its unit, and that of the baseline.
        value: The median, or a count.
        spread: (p25, p75), or (min, max) where there are few.
        baseline: What it is held against.
        baseline_value: The baseline's median.
        ratio: Measured by baseline, the median pair by pair.
        most, least: The target for the ratio, or for the value where there is no ratio.
        note: What the reader must know.
    """

    what: str
    unit: str
    value: float
    spread: tuple[float, float] | None = None
    baseline: str = ""
    baseline_value: float | None = None
    ratio: float | None = None
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None if there is none."""
        judged = self.value if self.ratio is None else self.ratio
        if self.most is not None:
            return judged <= self.most
        return None if self.least is None else judged >= self.least

    def as_json(self) -> dict[str, Any]:
        """Return the fields that say something."""
        fields = dataclasses.asdict(self) | {"reached": self.reached}
        return {key: value for key, value in fields.items() if value not in (None, "")}


def compare(
    what: str,
    unit: str,
    measured: Sequence[float],
    baseline: str = "",
    against: Sequence[float] = (),
    **rest: Any,
) -> Figure:
    """Return the figure of a series, and of the series that was taken in turns with it."""
    facts = summary(measured)
    return Figure(
        what,
        unit,
        facts["median"],
        (facts["p25"], facts["p75"]),
        baseline,
        statistics.median(against) if against else None,
        ratio(measured, against) if against else None,
        **rest,
    )


def result(figures: Sequence[Figure], **raw: Any) -> dict[str, Any]:
    """Return what a bench's `run` returns: rows for the table, and the raw series."""
    return {"figures": [figure.as_json() for figure in figures], **raw}


def number(value: float | None) -> str:
    """Return a number as a table shows it: three digits that count."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the figures of one bench as a Markdown table."""
    head = ("what", "measured", "p25 to p75", "against", "ratio", "target", "")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        spread = row.get("spread")
        base = row.get("baseline", "")
        if row.get("baseline_value") is not None:
            base += f" {number(row['baseline_value'])}"
        target = f"≤ {number(row['most'])}" if "most" in row else ""
        target = f"≥ {number(row['least'])}" if "least" in row else target
        verdict = {True: "reached", False: "**missed**", None: ""}[row.get("reached")]
        note = row.get("note", "")
        cells = (
            row["what"] + (f" ({note})" if note else ""),
            f"{number(row['value'])} {row['unit']}".strip(),
            f"{number(spread[0])} to {number(spread[1])}" if spread else "",
            base,
            number(row.get("ratio")),
            target,
            verdict,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what the figures depend on: the machine and the versions."""
    cpu = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    engine = RawEngine().call("GET", "/version")
    parts = {part["Name"]: part["Version"] for part in engine.get("Components", ())}
    packages = ("websockets", "uvloop", "aiodocker", "aiohttp", "msgspec")
    from importlib.metadata import version

    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES // MIB,
        "kernel": platform.release(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "wsrunner": wsrunner.__version__,
        "packages": {name: version(name) for name in packages},
        "engine": parts,
    }


# The server.


class Server:
    """A real ``wsrunner serve`` on a port of its own; ``with`` starts and stops it.

    Args:
        options: Further options, such as ``slots=1``.
    """

    def __init__(self, **options: Any) -> None:
        self.instance = f"bench-{secrets.token_hex(4)}"
        # Benches count the spares of --warm.
        self._options = {"port": 0, "instance": self.instance, "warm_terminals": 0} | options
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self.port = 0
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.command(), stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment()
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "serves on" not in line:
            self.process.wait()
            self._log.seek(0)
            raise RuntimeError(f"the server did not start: {self._log.read().decode()}")
        self.port = int(line.split()[3].rpartition(":")[2])
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()

    def command(self) -> list[str]:
        """Return the command line."""
        script = Path(sys.executable).with_name("wsrunner")
        words = [str(script), "serve"]
        for name, value in self._options.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return words

    def log(self) -> str:
        """Return what it has logged so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def memory_bytes(self) -> int:
        """Return its resident memory."""
        status = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(status.split()[1]) * PAGE_BYTES

    def peak_bytes(self) -> int:
        """Return the peak of its resident memory since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * KIB

    def forget_peak(self) -> None:
        """Let the peak begin anew at the present memory (Linux: proc(5), clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def get(self, path: str) -> bytes:
        """Return the body of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()

    def spares(self) -> dict[str, int]:
        """Return its warm containers by image."""
        counts = {}
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith("wsrunner_pool_containers{"):
                counts[line.partition('image="')[2].partition('"')[0]] = int(float(line.split()[1]))
        return counts

    def settle(
        self, engine: RawEngine, image: str = "", count: int = 0, workspaces: int = 0
    ) -> None:
        """Wait until it is idle: runs' containers are gone, `count` warm ones are there."""
        quiet_since_s = time.monotonic()
        seen = -1
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            spares = self.spares()
            alive = len(engine.containers(self.instance))
            ready = spares.get(image, 0) >= count and alive == sum(spares.values()) + workspaces
            if not ready or alive != seen:
                quiet_since_s = time.monotonic()
            seen = alive
            # A refill begins 0.3 s after a lease; what is quiet for longer stays so.
            if time.monotonic() - quiet_since_s > 0.1:
                return
            time.sleep(0.03)
        raise TimeoutError(f"no warm {image} after 60 s: {self.spares()}")


def environment() -> dict[str, str]:
    """Return an environment that sets nothing of wsrunner's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WSRUNNER_")}


# The client.


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


@dataclasses.dataclass(frozen=True)
class Timing:
    """When a run's first line came and when its end was known; seconds from the request."""

    first_s: float
    end_s: float


# The engine.


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class RawEngine:
    """Docker's API by blocking calls over its socket, and nothing in between.

    Its containers are made of what `DockerEngine` sends, to the letter, so that what differs is
    wsrunner alone. Safe to use from several threads.
    """

    def __init__(self) -> None:
        host = os.environ.get("DOCKER_HOST", "unix:///run/docker.sock")
        if not host.startswith("unix://"):
            raise RuntimeError(f"the bench talks to Docker over a Unix socket, not to {host}")
        self._path = host.removeprefix("unix://")
        self._local = threading.local()
        self.instance = f"bench-raw-{secrets.token_hex(4)}"
        self._shape = DockerEngine(instance=self.instance, uids=settings.UIDS)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make one call; return the decoded body.

        Raises:
            RuntimeError: The status says that it failed.
            TimeoutError: No answer for half a minute.
        """
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _UnixConnection(self._path)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        response = connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {answer.decode()}")
        return json.loads(answer) if answer.startswith((b"{", b"[")) else None

    def close(self) -> None:
        """Close this thread's connection; the next call opens another."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    @functools.cached_property
    def images(self) -> dict[str, str]:
        """Image names with tags → ids."""
        listed = self.call("GET", "/images/json")
        return {tag: image["Id"] for image in listed for tag in image["RepoTags"] or ()}

    def containers(self, instance: str) -> list[str]:
        """Return the ids of an instance's containers, in any state."""
        filters = json.dumps({"label": [f"{LABEL_INSTANCE}={instance}"]})
        return [
            entry["Id"]
            for entry in self.call(
                "GET", f"/containers/json?all=1&filters={filters}".replace(" ", "")
            )
        ]

    def order(self, **request: Any) -> Order:
        """Return what wsrunner makes of a request."""
        return make_order(
            job_of(msgspec.convert(request, RunRequest)),
            catalogue=_catalogue(),
            # What its containers get is one request.
            settings=settings.Settings(ahead="none"),
            present=self.images,
        )

    def start(self, box: Box) -> RawContainer:
        """Create, attach, start: the one order in which no output is lost."""
        container_id = self._create(box)
        container = RawContainer(self, container_id, self._attach(container_id))
        self.call("POST", f"/containers/{container_id}/start")
        return container

    def time_attach_command(self, order: Order) -> float:
        """Let `docker attach` read a run's output into /dev/null, from a container of its own.

        Returns:
            Seconds from the request, written to the command's stdin once it has attached, to the
            report on its stderr.
        """
        container_id = self._create(order.box)
        try:
            self.call("POST", f"/containers/{container_id}/start")
            with subprocess.Popen(
                ["docker", "attach", container_id],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            ) as command:
                assert command.stdin is not None
                assert command.stderr is not None
                # It doesn't say when it has attached; its own start must not count.
                time.sleep(0.5)
                mark = bootstrap.new_mark()
                begun_s = time.perf_counter()
                command.stdin.write(bootstrap.encode(order.plan, mark))
                command.stdin.flush()
                for line in command.stderr:
                    if line.startswith(mark):
                        return time.perf_counter() - begun_s
                raise RuntimeError("`docker attach` ended without the run's report")
        finally:
            self.remove(container_id)

    def remove(self, container_id: str) -> None:
        """Remove a container and wait until it is gone.

        Raises:
            RuntimeError: It is still there after half a minute; the message is the engine's.
        """
        deadline_s = time.monotonic() + REMOVAL_S
        while True:
            try:
                self.call("DELETE", f"/containers/{container_id}?force=1&v=1")
            except RuntimeError as exc:
                if ": 404 " in str(exc):
                    return
                # It ends or removes itself at this moment: 409, or 500 "is not running".
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.005)
            else:
                return

    def _create(self, box: Box) -> str:
        while True:
            uid = random.choice(settings.UIDS)
            path = f"/containers/create?name={self._shape.container_name(uid)}"
            try:
                return str(self.call("POST", path, self._shape.config.of_run(box, uid))["Id"])
            except RuntimeError as exc:
                # Another container is this user's.
                if ": 409 " not in str(exc):
                    raise

    def _attach(self, container_id: str) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.connect(self._path)
        path = f"/containers/{container_id}/attach?stream=1&stdin=1&stdout=1&stderr=1"
        stream.sendall(
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n"
            "Upgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += stream.recv(1)
        assert b" 101 " in head, head
        return stream

    def run(self, order: Order, *, to_the_end: bool = False) -> Timing:
        """Do one run with a container of its own and remove it; the removal is not timed.

        Args:
            order: What to run.
            to_the_end: Answer as the original service does: with everything, once the container
                has ended.
        """
        begun_s = time.perf_counter()
        container = self.start(order.box)
        try:
            timing = container.run(order, to_the_end=to_the_end)
            started_s = container.begun_s - begun_s
            return Timing(started_s + timing.first_s, started_s + timing.end_s)
        finally:
            container.remove()


class RawContainer:
    """A started container and its attach stream."""

    def __init__(self, engine: RawEngine, container_id: str, stream: socket.socket) -> None:
        self._engine = engine
        self.id = container_id
        self.stream = stream
        self.begun_s = 0.0

    def run(self, order: Order, *, to_the_end: bool = False) -> Timing:
        """Write the request, read frames until the last report (or the stream's end)."""
        self.begun_s = time.perf_counter()
        mark = self.write(order)
        marks = 2 * (1 + bool(order.plan.build))
        if to_the_end:
            self.stream.shutdown(socket.SHUT_WR)
        buffer = b""
        first_s = 0.0
        while data := self.stream.recv(256 * KIB):
            buffer += data
            if not first_s and _has_line(buffer, mark):
                first_s = time.perf_counter() - self.begun_s
            if not to_the_end and buffer.count(mark) == marks and buffer.endswith(b"\n"):
                break
        end_s = time.perf_counter() - self.begun_s
        return Timing(end_s if to_the_end else first_s or end_s, end_s)

    def write(self, order: Order) -> bytes:
        """Write the request; return its mark."""
        mark = bootstrap.new_mark()
        self.stream.sendall(bootstrap.encode(order.plan, mark))
        return mark

    def drain(self, mark: bytes) -> int:
        """Read into nothing until the run's report came; return the bytes read."""
        buffer = memoryview(bytearray(1 * MIB))
        total, found, tail = 0, 0, b""
        while found < 2 and (size := self.stream.recv_into(buffer)):
            total += size
            piece = tail + bytes(buffer[:size][-256:] if size > 256 else buffer[:size])
            # The marks come last, behind all output of their stream.
            found = max(found, piece.count(mark))
            tail = piece[-256:]
        return total

    def remove(self) -> None:
        """Remove it and wait until it is gone."""
        self.stream.close()
        self._engine.remove(self.id)


def _has_line(buffer: bytes, mark: bytes) -> bool:
    return any(
        stream == STDOUT and b"\n" in data and not data.startswith(mark)
        for stream, data in _frames(buffer)
    )


def _frames(buffer: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while len(buffer) - at >= _FRAME.size:
        stream, size = _FRAME.unpack_from(buffer, at)
        begin = at + _FRAME.size
        assert stream in (STDOUT, STDERR)
        yield stream, buffer[begin : begin + size]
        at = begin + size


@functools.cache
def _catalogue() -> languages.Catalogue:
    return languages.load()


# Processes of the host.


@contextlib.contextmanager
def image_root(engine: RawEngine, image: str) -> Iterator[Path | None]:
    """Mount an image's files for a process of the host, so that both run the same programs.

    Yields None where that can't be: not root, or images are not kept by overlay2 on this machine.
    """
    driver = engine.call("GET", f"/images/{image}/json")["GraphDriver"]
    layers = [driver["Data"].get(key) for key in ("UpperDir", "LowerDir")]
    if driver["Name"] != "overlay2" or os.geteuid() or not Path(layers[0]).is_dir():
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        root, upper, work = (Path(folder, name) for name in ("root", "upper", "work"))
        for path in (root, upper, work):
            path.mkdir()
        lower = ":".join(filter(None, layers))

        def mount(where: Path, *words: str) -> None:
            subprocess.run(["mount", *words, where], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", where], check=True)

        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mount(root, "-t", "overlay", "-o", options, "overlay")
        mount(root / "proc", "-t", "proc", "proc")
        mount(root / "dev", "--bind", "/dev")
        # The work directory is in memory, as that of a run.
        mount(root / "srv", "-t", "tmpfs", "tmpfs")
        yield root


def run_bare(commands: Sequence[Sequence[str]], folder: Path, env: dict[str, str]) -> Timing:
    """Run commands one after the other on the host; the last one's first line, and its end."""
    begun_s = time.perf_counter()
    for command in commands[:-1]:
        subprocess.run(command, cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL)
    process = subprocess.Popen(
        commands[-1], cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    first_s = time.perf_counter() - begun_s
    process.stdout.read()
    code = process.wait()
    end_s = time.perf_counter() - begun_s
    process.stdin.close()
    process.stdout.close()
    if code:
        raise RuntimeError(f"{commands[-1]} ended with {code}")
    return Timing(first_s, end_s)
