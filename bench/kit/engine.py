"""Docker's own API, by blocking calls."""

from __future__ import annotations

import functools
import http.client
import json
import os
import random
import secrets
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from bench.kit.timing import Timing
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
_FRAME = struct.Struct(">BxxxL")


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
