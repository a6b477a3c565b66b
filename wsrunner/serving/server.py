"""The server process: puts the parts together, listens, and stops in order.

Owns start, signals and shutdown. What happens on a socket is `session`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import cast

import uvloop
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.http11 import Request, Response

from wsrunner import languages
from wsrunner.engines.base import Box
from wsrunner.engines.docker.engine import DockerEngine
from wsrunner.errors import (
    EngineUnavailableError,
    GateUnavailableError,
    SetupError,
    WsrunnerError,
)
from wsrunner.gates import open_gate
from wsrunner.runs.host import Host
from wsrunner.runs.order import default_box
from wsrunner.runs.pool import Pool
from wsrunner.runs.registry import Registry
from wsrunner.runs.stock import MAX_AGE_S, SPARE_BYTES
from wsrunner.serving import site
from wsrunner.serving.access import is_loopback
from wsrunner.serving.connection import Connection
from wsrunner.serving.inlet import Inlet
from wsrunner.serving.json_session import JsonSession
from wsrunner.serving.metrics import Metrics
from wsrunner.serving.monitor import Monitor
from wsrunner.serving.plain_session import PlainSession
from wsrunner.serving.rate import RateLimiter
from wsrunner.serving.seats import Seats
from wsrunner.settings import Settings, exposed, uid_range
from wsrunner.units import KIB, MIB

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 30
LOCAL_ENGINE = "local"
CLOSE_S = 5.0
"""How long clients may take over a handshake: the opening one, or the closing one at the stop."""
MESSAGE_EXCESS_BYTES = 4 * MIB
"""Messages that exceed the limit by less are answered with an error; beyond, the socket closes."""
MESSAGES_AHEAD = 4
"""Messages that are taken from a socket before the first of them has been dealt with."""
PING_EVERY_S = 20.0
SILENCE_S = 60.0
"""How long nothing may come from a client, which pings make answer, at least."""
WRITE_LIMIT_BYTES = 256 * KIB
"""Unsent output of a socket after which its sends wait."""
WRITE_STEP_BYTES = 48 * KIB
"""What a client must take within slow_client_s for them to go on: little, as slow is not dead."""
SEND_BUFFER_BYTES = 256 * KIB
"""Kernel buffer of each connection: without a limit it hides a reader that has stopped."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Blocks.

    Raises:
        SetupError: The settings can't be served: the port is taken, an address without token, ….
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    # Its lines name every request; ours name runs.
    logging.getLogger("websockets").setLevel(logging.WARNING)
    for file in filter(None, (settings.token_file, settings.operator_token_file)):
        if exposed(Path(file)):
            log.warning("the token file %s can be read by everybody here: chmod 600 it", file)
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told_to_stop() -> None:
        if stop.is_set():
            log.info("told twice to stop: ending what still runs")
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop)
    async with open_server(settings, hurry) as address:
        print(_welcome(settings, address), flush=True)  # noqa: T201 - for the person who started it
        await stop.wait()
        log.info("stopping")


@contextlib.asynccontextmanager
async def open_server(
    settings: Settings, hurry: asyncio.Event | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Serve for the length of the block; yields the (host, port) that it listens on.

    Leaving the block drains: no new runs, live ones get up to `drain_s` or until `hurry` is set,
    then every socket is closed with 1001.

    Raises:
        SetupError: The settings can't be served.
    """
    _refuse_unguarded(settings)
    catalogue = languages.load(settings.languages)
    warm = _parse_warm(settings.warm, catalogue)
    listener = _bind(settings)
    host, port = listener.getsockname()[:2]
    instance = settings.instance or f"{socket.gethostname()}:{port}"
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listener.close)
        try:
            engine = await stack.enter_async_context(
                DockerEngine(
                    instance=instance,
                    uids=uid_range(settings.uids),
                    runtime=settings.runtime,
                    life_s=MAX_AGE_S + settings.wall_s + SWEEP_EVERY_S,
                )
            )
            # Replicas may share an engine or have their own: its own id says which.
            engine_name = await engine.name() if settings.redis_url else LOCAL_ENGINE
            gate = await stack.enter_async_context(open_gate(settings, instance, engine_name))
        except (EngineUnavailableError, GateUnavailableError) as exc:
            raise SetupError(exc.message) from exc

        def floors(present: Mapping[str, str]) -> Mapping[Box, int]:
            return _warm_floors(warm, present, settings, catalogue)

        most = min(settings.warm_max, settings.warm_memory_mb * MIB // SPARE_BYTES)
        pool = await stack.enter_async_context(Pool(engine, most=most, floors=floors))
        registry = Registry(
            Host(
                settings=settings,
                catalogue=catalogue,
                gate=gate,
                engine=engine,
                engine_name=engine_name,
                pool=pool,
            )
        )
        sweeper = asyncio.create_task(_sweep(engine), name="sweep")
        stack.push_async_callback(_cancelled, sweeper)
        server = await _listen(settings, registry, listener)
        silence_s = max(SILENCE_S, 2 * settings.slow_client_s)
        watch = asyncio.create_task(_cut_silent(server, silence_s), name="silent clients")
        stack.push_async_callback(_cancelled, watch)
        stack.push_async_callback(
            _drain, server, registry, settings.drain_s, hurry or asyncio.Event()
        )
        yield host, port


async def _listen(settings: Settings, registry: Registry, listener: socket.socket) -> Server:
    metrics = Metrics()
    registry.host.observers.append(metrics)
    pages = site.Site(settings, registry.host, metrics)
    rate = RateLimiter(settings.runs_per_minute)
    monitor = Monitor(registry)
    seats = Seats(settings.sockets_per_address)
    inlet = Inlet(settings.inbox_mb * MIB, settings.messages_per_s)

    async def process_request(connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, Connection)
        # A client that has gone already may have no address any more.
        client = str((connection.remote_address or ("",))[0])
        answer = await pages.respond(request, client)
        if isinstance(answer, Response):
            return answer
        connection.principal = answer
        return seats.take(connection, answer.client, site.path_of(request))

    async def converse(connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        assert connection.request is not None
        path = site.path_of(connection.request)
        # The headers, 2.4 KB, are done with; the connection may stay for hours.
        connection.request.headers.clear()
        connection.response = None
        principal = connection.principal
        if path == site.MONITOR_PATH:
            await monitor.converse(connection, principal)
        elif path == site.RUN_PATH:
            await JsonSession(connection, registry, rate, principal).converse()
        else:
            language = path.removeprefix(f"{site.RUN_PATH}/")
            await PlainSession(connection, registry, rate, principal, language).converse()

    return await listen(
        converse,
        sock=listener,
        process_request=process_request,
        select_subprotocol=lambda _, offered: site.choose_subprotocol(offered),
        compression=None,
        create_connection=cast("type[Connection]", partial(Connection, inlet=inlet)),
        max_size=settings.message_kb * KIB + MESSAGE_EXCESS_BYTES,
        max_queue=MESSAGES_AHEAD,
        ping_interval=PING_EVERY_S,
        # A pong waits behind the output that a slow client has yet to read; see _cut_silent.
        ping_timeout=None,
        open_timeout=CLOSE_S,
        write_limit=(WRITE_LIMIT_BYTES, WRITE_LIMIT_BYTES - WRITE_STEP_BYTES),
        server_header=None,
    )


async def _drain(server: Server, registry: Registry, drain_s: float, hurry: asyncio.Event) -> None:
    """Let live runs end, then end them; then close every socket with 1001."""
    registry.host.draining = True
    registry.end("draining", waiting_only=True)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + drain_s
    while registry.live and loop.time() < deadline and not hurry.is_set():
        await asyncio.sleep(0.02)
    registry.end("draining")
    # Each has a grace to report and be removed.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            while registry.live:
                await asyncio.sleep(0.02)
    server.close(code=1001, reason="the server is stopping")
    # A client that reads nothing never takes its close frame.
    loop.call_later(CLOSE_S, _abort_all, server)
    await server.wait_closed()


def _abort_all(server: Server) -> None:
    for connection in server.all_connections:
        connection.transport.abort()


async def _cut_silent(server: Server, silence_s: float) -> None:
    """Cut the sockets whose clients have vanished without a word, for ever."""
    while True:
        await asyncio.sleep(PING_EVERY_S)
        for connection in server.connections:
            if isinstance(connection, Connection) and connection.silent_s() > silence_s:
                log.info("cut a client from which nothing has come for %.0f s", silence_s)
                connection.transport.abort()


async def _sweep(engine: DockerEngine) -> None:
    while True:
        try:
            await engine.sweep()
        except WsrunnerError as exc:
            log.warning("could not look for containers left behind: %s", exc)
        except Exception:  # this must go on whatever the engine says
            log.exception("could not look for containers left behind")
        await asyncio.sleep(SWEEP_EVERY_S)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _bind(settings: Settings) -> socket.socket:
    """Open the listening socket.

    Raises:
        SetupError: The address can't be had.
    """
    where = f"{settings.host}:{settings.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.bind(address)
        listener.listen(1024)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise SetupError(
            f"can't listen on {where}: {reason}. Choose another with --host and --port."
        ) from exc
    return listener


def _refuse_unguarded(settings: Settings) -> None:
    """Refuse an address that others reach unless there is a token, or --open says so.

    Raises:
        SetupError: See above.
    """
    if settings.token or settings.open or is_loopback(settings.host):
        return
    raise SetupError(
        f"--host {settings.host} lets other machines run code here; set --token (WSRUNNER_TOKEN), "
        "or pass --open if that is what you want"
    )


def _parse_warm(text: str, catalogue: languages.Catalogue) -> dict[str, int]:
    """Return language id → spare containers; for a plain number, that of every language.

    Raises:
        SetupError: Not of the form ``python=2,c=1`` or ``1``.
    """
    if text.strip().isdecimal():
        return {language.id: int(text) for language in catalogue}
    warm: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, count = part.partition("=")
        if not count.strip().isdecimal():
            raise SetupError(f"--warm: {part!r} is not of the form LANGUAGE=NUMBER")
        try:
            warm[catalogue.find(name.strip()).id] = int(count)
        except WsrunnerError as exc:
            raise SetupError(f"--warm: {exc.message}") from exc
    return warm


def _warm_floors(
    warm: Mapping[str, int],
    present: Mapping[str, str],
    settings: Settings,
    catalogue: languages.Catalogue,
) -> dict[Box, int]:
    """Return how many containers to keep of each kind; languages may share an image."""
    floors: dict[Box, int] = {}
    for language_id, count in warm.items():
        image = catalogue.find(language_id).choose(present)
        if image is not None and count:
            box = default_box(settings, image)
            floors[box] = max(floors.get(box, 0), count)
    return floors


def _welcome(settings: Settings, address: tuple[str, int]) -> str:
    """Return what a person needs to try it: lines to paste."""
    host, port = address
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - for display
    at = f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
    header = " -H='X-Access-Token: TOKEN'" if settings.token else ""
    token = " --token TOKEN" if settings.token else ""
    return (
        f"wsrunner serves on http://{at}  (Ctrl-C stops it)\n\n"
        f"  echo 'print(6 * 7)' | {_command('websocat')} -nb{header} ws://{at}/v1/run/python\n"
        f"  {_command('wsrunner')} run --url ws://{at}{token} -l python -c 'print(6 * 7)'\n"
    )


def _command(name: str) -> str:
    """Return how a person here calls a command: by its name, or where it is in the environment."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) or not beside.exists():
        return name
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
