"""What HTTP costs: a run by POST against the same over an open socket, refusals, and files out.

Runs are warm ones and taken in turns, on one connection each that stays open. Refusals take no
container: their rate is set against that of a bare aiohttp handler, in a process of its own, that
reads the same body and answers as many bytes. A file that comes back is timed from the program's
last line, on an open socket and by POST, against `docker cp` of one as large.

Runs in one workspace follow each other as fast as they can on one socket, against runs in
containers that are started for them, in turns of a few seconds. A workspace's first line is set
against a warm run's whose interpreter is not up ahead, as it is not in a workspace.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from bench import kit
from bench.kit import Timing
from wsrunner.units import MIB

NAME = "doors"
HELP = "a run by POST against a socket; refusals against bare aiohttp; files against docker cp"
MS = 1e3
CODE = {"language": "python", "code": "print('hello')"}
WRONG = json.dumps({"language": "python"}).encode()
CLIENTS = 4
END_MOST = 1.15
FIRST_MOST = 1.1
RATE_LEAST = 0.5
FILE_BYTES = 8 * MIB
FILE_LEAST = 0.8
MAKE_FILE = f"head -c {FILE_BYTES} /dev/urandom >out.bin; echo made"
SPACE_RATE_LEAST = 10
SPACE_FIRST_MOST = 1.2


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module. `runs` is the number of rounds."""
    del out
    rounds = runs or (10 if quick else 100)
    engine = kit.RawEngine()
    with kit.Server(warm="python=1", slots=4) as server:
        raw = _runs(server, engine, rounds)
    with kit.Server(warm="bash=1", slots=4) as server:
        files = _files(server, engine, 5 if quick else 20)
    with kit.Server(warm="", warm_max=0) as server, _bare() as bare_port:
        rates = _rates(server.port, bare_port, 2 if quick else 8, 1.0 if quick else 2.0)
    figures = [
        kit.compare(
            "POST /v1/run, answered",
            "ms",
            [each.end_s * MS for each in raw["whole"]],
            "socket, exit",
            [each.end_s * MS for each in raw["socket"]],
            most=END_MOST,
        ),
        kit.compare(
            "server-sent events, first line",
            "ms",
            [each.first_s * MS for each in raw["events"]],
            "socket, first line",
            [each.first_s * MS for each in raw["socket"]],
            most=FIRST_MOST,
        ),
        kit.compare(
            "refused requests",
            "/s",
            rates["refused"],
            "bare aiohttp",
            rates["bare"],
            least=RATE_LEAST,
        ),
        *(
            kit.compare(
                f"an 8 MiB file out, {way}",
                "MiB/s",
                [FILE_BYTES / MIB / each for each in files[way]],
                "docker cp",
                [FILE_BYTES / MIB / each for each in files["docker cp"]],
                least=FILE_LEAST,
            )
            for way in ("socket", "events")
        ),
    ]
    spaces = _spaces(engine, rounds, quick=quick)
    figures += [
        kit.compare(
            "runs in one workspace",
            "/s",
            spaces["workspace"],
            "in fresh containers",
            spaces["fresh"],
            least=SPACE_RATE_LEAST,
        ),
        kit.compare(
            "workspace, first line",
            "ms",
            spaces["first"],
            "warm, first line",
            spaces["warm"],
            most=SPACE_FIRST_MOST,
        ),
    ]
    seconds = {name: [each.__dict__ for each in series] for name, series in raw.items()}
    return kit.result(figures, seconds=seconds, rates=rates, files=files, spaces=spaces)


def _spaces(engine: kit.RawEngine, rounds: int, *, quick: bool) -> dict[str, list[float]]:
    """Return runs a second in a workspace and in fresh containers, and first lines, in ms."""
    found: dict[str, list[float]] = {"workspace": [], "fresh": []}
    length_s = 1.0 if quick else 3.0
    with kit.Server(warm="", warm_max=0, slots=4) as server, kit.Socket(server.port) as opened:

        def one(name: str, **more: str) -> Callable[[], None]:
            return lambda: found[name].append(_follow_on(opened, length_s, **more))

        opened.run(**CODE, workspace="bench")
        turns = one("workspace", workspace="bench"), one("fresh")
        kit.interleave(2 if quick else 10, *turns, say="doors: workspaces")
    image = engine.order(**CODE).box.image
    warm = kit.Server(warm="python=1", slots=4, ahead="none")
    with warm as server, kit.Socket(server.port) as opened:

        def first(**more: str) -> Callable[[], Timing]:
            def take() -> Timing:
                server.settle(engine, image, 1, workspaces=1)
                return opened.run(**CODE, **more)

            return take

        opened.run(**CODE, workspace="bench")
        ways = {"first": first(workspace="bench"), "warm": first()}
        series = kit.take_in_turns(rounds, ways, say="doors: first lines")
    return found | {name: [each.first_s * MS for each in took] for name, took in series.items()}


def _follow_on(opened: kit.Socket, length_s: float, **more: str) -> float:
    """Return how many runs a second follow each other on a socket."""
    count, begun_s = 0, time.perf_counter()
    while (passed_s := time.perf_counter() - begun_s) < length_s:
        opened.run(**CODE, **more)
        count += 1
    return count / passed_s


def _runs(server: kit.Server, engine: kit.RawEngine, rounds: int) -> dict[str, list[Timing]]:
    image = engine.order(**CODE).box.image
    with (
        kit.Socket(server.port) as opened,
        Http(server.port) as whole,
        Http(server.port) as events,
    ):

        def settled(take: Callable[[], Timing]) -> Callable[[], Timing]:
            def taker() -> Timing:
                server.settle(engine, image, 1)
                return take()

            return taker

        ways = {
            "socket": settled(lambda: opened.run(**CODE)),
            "whole": settled(lambda: whole.run("application/json", CODE)),
            "events": settled(lambda: events.run("text/event-stream", CODE)),
        }
        return kit.take_in_turns(rounds, ways, say="doors")


class Http:
    """An HTTP connection that stays open, by a blocking socket; as little as can be.

    Args:
        port: Where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def post(self, path: str, body: bytes, accept: str = "application/json") -> None:
        """Send a request."""
        self._socket.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: {accept}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def answer(self) -> bytes:
        """Return an answer that says how long it is: head and body."""
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._socket.recv(65536)
        size = int(data.partition(b"Content-Length: ")[2].split(b"\r\n", 1)[0])
        while len(data) < end + 4 + size:
            data += self._socket.recv(65536)
        return bytes(data)

    def run(self, accept: str, request: dict[str, Any]) -> Timing:
        """Run a program; return when its first line came and when its answer ended."""
        begun_s = time.perf_counter()
        self.post("/v1/run", json.dumps(request).encode(), accept)
        first_s, data = 0.0, bytearray()
        if accept == "application/json":
            data += self.answer()
        else:
            while not data.endswith(b"0\r\n\r\n"):
                data += self._socket.recv(65536)
                if not first_s and b"event: stdout" in data:
                    first_s = time.perf_counter() - begun_s
        end_s = time.perf_counter() - begun_s
        if b'"code":0' not in data:
            raise RuntimeError(f"the run failed: {bytes(data)!r}")
        return Timing(first_s or end_s, end_s)


# Files out.


def _files(server: kit.Server, engine: kit.RawEngine, rounds: int) -> dict[str, list[float]]:
    """Return seconds for one file, by the way it comes."""
    request = {"language": "bash", "code": MAKE_FILE, "outputs": ["out.bin"]}
    image = engine.order(language="bash", code="").box.image
    with (
        tempfile.TemporaryDirectory() as folder,
        _with_file(image) as path,
        kit.Socket(server.port) as opened,
        Http(server.port) as events,
    ):

        def copied() -> Timing:
            begun_s = time.perf_counter()
            subprocess.run(["docker", "cp", "--quiet", path, folder], check=True)
            return Timing(0.0, time.perf_counter() - begun_s)

        ways = {
            "docker cp": copied,
            "socket": lambda: opened.run(**request),
            "events": lambda: events.run("text/event-stream", request),
        }
        taken = kit.take_in_turns(rounds, ways, say="doors: files")
    return {way: [each.end_s - each.first_s for each in series] for way, series in taken.items()}


@contextlib.contextmanager
def _with_file(image: str) -> Iterator[str]:
    """Have a container with such a file; yields its place, as `docker cp` takes it.

    Not one of ours: what `docker cp` can read is no tmpfs.
    """
    made = f"cd /tmp && {MAKE_FILE}; exec sleep 600"
    command = ["docker", "run", "-d", "--rm", "--network=none", image, "sh", "-c", made]
    started = subprocess.run(command, check=True, capture_output=True, text=True)
    container = started.stdout.strip()
    try:
        logs = ["docker", "logs", container]
        while "made" not in subprocess.run(logs, check=True, capture_output=True, text=True).stdout:
            time.sleep(0.05)
        yield f"{container}:/tmp/out.bin"
    finally:
        subprocess.run(["docker", "rm", "-f", container], check=True, capture_output=True)


# Refusals.


def _rates(port: int, bare_port: int, rounds: int, length_s: float) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {"refused": [], "bare": []}
    _rate(port, 0.3), _rate(bare_port, 0.3)
    kit.interleave(
        rounds,
        lambda: rates["refused"].append(_rate(port, length_s)),
        lambda: rates["bare"].append(_rate(bare_port, length_s)),
        say="doors: refusals",
    )
    return rates


def _rate(port: int, length_s: float) -> float:
    """Return how many requests a second are refused, over a few connections."""
    counts = [0] * CLIENTS
    end_s = time.perf_counter() + length_s

    def ask(index: int) -> None:
        with Http(port) as connection:
            while time.perf_counter() < end_s:
                connection.post("/v1/run", WRONG)
                if not connection.answer().startswith(b"HTTP/1.1 400 "):
                    raise RuntimeError("a wrong request was not refused")
                counts[index] += 1

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / length_s


@contextlib.contextmanager
def _bare() -> Iterator[int]:
    """Serve by aiohttp alone for the length of the block; yields the port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_bare, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def serve_bare(told: Connection) -> None:
    """Answer POST /v1/run with 400 and a body, for ever."""
    import asyncio

    import uvloop
    from aiohttp import web

    body = b'{"code":"bad_message","message":"' + b"x" * 120 + b'"}\n'

    async def refuse(request: web.Request) -> web.Response:
        json.loads(await request.read())
        return web.Response(status=400, body=body, content_type="application/json")

    async def serve() -> None:
        application = web.Application()
        application.router.add_post("/v1/run", refuse)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        told.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    uvloop.run(serve())
