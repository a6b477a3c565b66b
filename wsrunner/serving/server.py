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
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from wsrunner import languages
from wsrunner.engines.base import Box, Engine
from wsrunner.engines.late import LateEngine
from wsrunner.errors import SetupError, WsrunnerError
from wsrunner.gates.late import LateGate
from wsrunner.live.house import House
from wsrunner.rooms.hall import Hall
from wsrunner.runs.host import Host
from wsrunner.runs.order import default_box
from wsrunner.runs.pool import Pool
from wsrunner.runs.registry import Registry
from wsrunner.runs.stock import MAX_AGE_S, Stock
from wsrunner.runs.workspaces import Workspaces
from wsrunner.serving.access import Access, is_loopback
from wsrunner.serving.opening import LOCAL_ENGINE, beside, open_ground
from wsrunner.serving.port import Port, open_port
from wsrunner.serving.tenancy import Tenancy
from wsrunner.serving.tickets import Tickets
from wsrunner.serving.tls import certificate_of
from wsrunner.settings import Settings, exposed
from wsrunner.units import KIB, MIB
from wsrunner.webhooks.backlog import Backlog, MemoryBacklog
from wsrunner.webhooks.dispatch import Dispatch

if TYPE_CHECKING:
    from wsrunner.live.store import Store
    from wsrunner.spaces.ledger import RedisLedger

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 30
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


class Reload:
    """Has files read again; who reads one clears its event."""

    def __init__(self) -> None:
        self.tenants, self.certificate = asyncio.Event(), asyncio.Event()

    def set(self) -> None:
        """Ask for it."""
        self.tenants.set()
        self.certificate.set()


async def _serve(settings: Settings) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told_to_stop() -> None:
        if stop.is_set():
            log.info("told twice to stop: ending what still runs")
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    reload = Reload()
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop)
    async with open_server(settings, hurry, reload) as address:
        print(_welcome(settings, address), flush=True)  # noqa: T201 - for the person who started it
        await stop.wait()
        log.info("stopping")


@contextlib.asynccontextmanager
async def open_server(
    settings: Settings, hurry: asyncio.Event | None = None, reload: Reload | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Serve for the length of the block; yields the (host, port) that it listens on.

    It listens before it has an engine: see `opening`. The block is cancelled if there is none.

    Leaving the block drains: no new runs, live ones get up to `drain_s` or until `hurry` is set,
    then every socket is closed with 1001. Setting `reload` has the files of tenants and of TLS
    read again.

    Raises:
        SetupError: The settings can't be served.
    """
    _refuse_unguarded(settings)
    catalogue = languages.load(settings.languages)
    warm = _parse_warm(settings.warm, catalogue)
    reload = reload or Reload()
    tenancy = Tenancy(settings.tenants, catalogue, reload.tenants)
    certificate = certificate_of(settings, reload.certificate)
    listener = _bind(settings)
    host, number = listener.getsockname()[:2]
    instance = settings.instance or f"{socket.gethostname()}:{number}"
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listener.close)
        # Closed last, when nobody needs it any more.
        closing = await stack.enter_async_context(contextlib.AsyncExitStack())
        engine, gate = LateEngine(), LateGate()

        def floors(present: Mapping[str, str]) -> Mapping[Box, int]:
            return _warm_floors(warm, present, settings, catalogue)

        stock = Stock(settings.warm_max, settings.warm_memory_mb * MIB)
        pool = await stack.enter_async_context(Pool(engine, stock, floors=floors))
        ledger = _ledger(settings, engine)
        if ledger is not None:
            stack.push_async_callback(ledger.close)
        workspaces = Workspaces(
            engine,
            most=settings.workspaces,
            most_each=settings.workspaces_each,
            idle_s=settings.workspace_s,
            # Replicas have one name for one thing; other servers on the engine are none of theirs.
            scope=settings.redis_url or instance,
            ledger=ledger,
        )
        await stack.enter_async_context(workspaces)
        registry = Registry(
            Host(
                settings=settings,
                catalogue=catalogue,
                gate=gate,
                engine=engine,
                engine_name=LOCAL_ENGINE,
                pool=pool,
                workspaces=workspaces,
            )
        )
        sweeper = asyncio.create_task(_sweep(engine), name="sweep")
        stack.push_async_callback(_cancelled, sweeper)
        store = _store(settings)
        house = await stack.enter_async_context(House(registry, store))
        if ledger is not None:
            ledger.replica = house.replica
        hall = await stack.enter_async_context(Hall(registry.host, house.replica))
        access = Access(settings, tenancy, Tickets(store))
        following = asyncio.create_task(tenancy.follow(gate), name="tenants")
        stack.push_async_callback(_cancelled, following)
        webhooks = await stack.enter_async_context(_webhooks(settings))
        port = await stack.enter_async_context(
            open_port(
                settings,
                registry,
                house,
                hall,
                access=access,
                webhooks=webhooks,
                listener=listener,
                certificate=certificate,
            )
        )
        stack.push_async_callback(
            _drain, port, registry, settings.drain_s, hurry or asyncio.Event()
        )
        life_s = MAX_AGE_S + settings.wall_s + SWEEP_EVERY_S
        work = open_ground(registry.host, engine, gate, closing, instance=instance, life_s=life_s)
        await stack.enter_async_context(beside(work))
        yield host, number


def _store(settings: Settings) -> Store | None:
    """Return what replicas share their kept runs through; imported where it is used only."""
    if not settings.redis_url:
        return None
    from wsrunner.live.store import Store

    return Store(settings.redis_url)


def _ledger(settings: Settings, engine: Engine) -> RedisLedger | None:
    """Return what replicas share their workspaces through."""
    if not settings.redis_url:
        return None
    from wsrunner.spaces.ledger import RedisLedger

    return RedisLedger(settings.redis_url, engine.name)


def _webhooks(settings: Settings) -> Dispatch:
    """Return what sends callbacks; it shares them with other replicas where they share a Redis."""
    backlog: Backlog = MemoryBacklog()
    if settings.redis_url and settings.webhook_hosts:
        from wsrunner.webhooks.store import RedisBacklog

        backlog = RedisBacklog(settings.redis_url)
    return Dispatch(
        backlog,
        settings.webhook_hosts,
        private=settings.webhook_private,
        pending_max=settings.webhook_pending,
    )


async def _drain(port: Port, registry: Registry, drain_s: float, hurry: asyncio.Event) -> None:
    """Let live runs end, then end them; then let everybody go."""
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
    await port.close()


async def _sweep(engine: Engine) -> None:
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
    if settings.token or settings.tenants or settings.open or is_loopback(settings.host):
        return
    raise SetupError(
        f"--host {settings.host} lets other machines run code here; set --token (WSRUNNER_TOKEN) "
        "or --tenants, or pass --open if that is what you want"
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
    """Return how many containers to keep of each kind; languages may share an image.

    Those with a terminal come last, so that they are the ones left out where not all can be had.
    """
    floors: dict[Box, int] = {}
    for tty in (False, True):
        for language_id, count in warm.items():
            language = catalogue.find(language_id)
            image = language.choose(present)
            wanted = min(count, settings.warm_terminals) if tty else count
            if image is not None and wanted:
                box = default_box(settings, language, image, tty=tty)
                floors[box] = max(floors.get(box, 0), wanted)
    return floors


def _welcome(settings: Settings, address: tuple[str, int]) -> str:
    """Return what a person needs to try it: lines to paste."""
    host, port = address
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - for display
    at = f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
    header = " -H='X-Access-Token: TOKEN'" if settings.token else ""
    token = " --token TOKEN" if settings.token else ""
    tls = "s" if settings.tls_cert else ""
    return (
        f"wsrunner serves on http{tls}://{at}  (Ctrl-C stops it)\n\n"
        f"  echo 'print(6 * 7)' | {_command('websocat')} -nb{header} ws{tls}://{at}/v1/run/python\n"
        f"  {_command('wsrunner')} run --url ws{tls}://{at}{token} -l python -c 'print(6 * 7)'\n"
    )


def _command(name: str) -> str:
    """Return how a person here calls a command: by its name, or where it is in the environment."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) or not beside.exists():
        return name
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
