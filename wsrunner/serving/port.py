"""The one port: sockets, HTTP, and what they share.

Owns the listening server and who is on it. What happens on a socket is the sessions', what is
answered to a request `doors`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, cast

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.http11 import Request, Response

from wsrunner.errors import NoSeatError
from wsrunner.live.house import House
from wsrunner.rooms.hall import Hall
from wsrunner.runs.registry import Registry
from wsrunner.serving import answers, handshake
from wsrunner.serving.access import Access
from wsrunner.serving.connection import Connection
from wsrunner.serving.desk import Desk
from wsrunner.serving.entrance import Doorway, Entrance
from wsrunner.serving.handshake import Handshakes
from wsrunner.serving.inlet import Inlet, Rates
from wsrunner.serving.json_session import JsonSession
from wsrunner.serving.knocks import Knocks
from wsrunner.serving.metrics import Metrics
from wsrunner.serving.monitor import Monitor
from wsrunner.serving.paths import MONITOR_PATH, PISTON_PATH, RUN_PATH
from wsrunner.serving.plain_session import PlainSession
from wsrunner.serving.rate import RateLimiter
from wsrunner.serving.seats import Seats
from wsrunner.serving.tls import Certificate
from wsrunner.settings import Settings
from wsrunner.units import KIB, MIB
from wsrunner.webhooks.dispatch import Dispatch

if TYPE_CHECKING:
    from wsrunner.serving.doors.app import App

log = logging.getLogger(__name__)

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
"""Unsent output of a client after which its sends wait."""
WRITE_STEP_BYTES = 48 * KIB
"""What a client must take within slow_client_s for them to go on: little, as slow is not dead."""
WRITE_LIMITS = (WRITE_LIMIT_BYTES, WRITE_LIMIT_BYTES - WRITE_STEP_BYTES)


def desk_of(
    settings: Settings,
    registry: Registry,
    house: House,
    hall: Hall,
    *,
    access: Access,
    webhooks: Dispatch,
) -> Desk:
    """Return what all doors of a server share."""
    metrics = Metrics()
    metrics.house, metrics.webhooks = house, webhooks
    metrics.hall = hall
    access.host_of = hall.host_of
    registry.host.observers.append(metrics)
    monitor = Monitor(registry)
    monitor.webhooks, monitor.house, monitor.hall = webhooks, house, hall
    return Desk(
        settings=settings,
        registry=registry,
        house=house,
        hall=hall,
        access=access,
        rate=RateLimiter(settings.runs_per_minute),
        seats=Seats(settings.sockets_per_address),
        inlet=Inlet(
            settings.inbox_mb * MIB,
            Rates(settings.messages_per_s, settings.receive_kb_per_s * KIB),
        ),
        metrics=metrics,
        monitor=monitor,
        webhooks=webhooks,
    )


class Port:
    """Listens, and knows who is connected. Made by `open_port`."""

    def __init__(self, desk: Desk, server: Server, doorway: Doorway) -> None:
        self._server = server
        self._doorway = doorway
        self._silence_s = max(SILENCE_S, 2 * desk.settings.slow_client_s)
        self._app: App | None = None

    async def open_doors(self, desk: Desk) -> None:
        """Load what HTTP takes, and let those in who ask by it."""
        try:
            # Importing aiohttp's server takes as long as all of websockets.
            from wsrunner.serving.doors.app import App

            self._app = await App.open(desk, WRITE_LIMITS)
            self._doorway.open(self._app.connection)
        except Exception:
            # Nobody waits for this task: whoever asks by HTTP would hear nothing but a timeout.
            log.exception("HTTP can't be served; sockets can")

    async def watch(self) -> None:
        """Cut the connections whose clients have vanished without a word, for ever."""
        while True:
            await asyncio.sleep(PING_EVERY_S)
            for connection in self._server.connections:
                if isinstance(connection, Connection) and connection.silent_s() > self._silence_s:
                    log.info("cut a client from which nothing has come for %.0f s", self._silence_s)
                    connection.transport.abort()
            if self._app is not None:
                self._app.cut_stuck()

    async def close(self) -> None:
        """Close every socket with 1001, and what is idle of HTTP; wait until nobody is left."""
        self._server.close(code=1001, reason="the server is stopping")
        # A client that reads nothing never takes its close frame.
        asyncio.get_running_loop().call_later(CLOSE_S, self._abort_all)
        self._doorway.close()
        if self._app is not None:
            await self._app.close()
        await self._server.wait_closed()

    def _abort_all(self) -> None:
        for connection in self._server.all_connections:
            connection.transport.abort()


@contextlib.asynccontextmanager
async def open_port(
    settings: Settings,
    registry: Registry,
    house: House,
    hall: Hall,
    *,
    access: Access,
    webhooks: Dispatch,
    listener: socket.socket,
    certificate: Certificate | None = None,
) -> AsyncIterator[Port]:
    """Listen for the length of the block; `Port.close` must have been called at its end."""
    desk = desk_of(settings, registry, house, hall, access=access, webhooks=webhooks)
    doorway = Doorway(desk.inlet, Knocks(settings.connections_per_s, proxies=settings.proxies))
    server = await _listen(desk, doorway, listener, certificate)
    port = Port(desk, server, doorway)
    tasks = [
        asyncio.create_task(port.open_doors(desk), name="doors"),
        asyncio.create_task(port.watch(), name="silent clients"),
    ]
    if certificate is not None:
        tasks.append(asyncio.create_task(certificate.follow(), name="certificate"))
    try:
        yield port
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(
    desk: Desk, doorway: Doorway, listener: socket.socket, certificate: Certificate | None
) -> Server:
    handshakes = Handshakes(desk.access, desk.host)

    async def process_request(connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, Connection)
        # A client that has gone already may have no address any more.
        client = str((connection.remote_address or ("",))[0])
        answer = await handshakes.check(request, client)
        if isinstance(answer, answers.Answer):
            return handshake.response_of(answer)
        connection.principal = answer
        try:
            leave = desk.seats.take(answer, handshake.path_of(request))
        except NoSeatError as exc:
            return handshake.response_of(answers.of_error(exc))
        connection.connection_lost_waiter.add_done_callback(lambda _: leave())
        return None

    async def converse(connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        assert connection.request is not None
        path = handshake.path_of(connection.request)
        # The headers, 2.4 KB, are done with; the connection may stay for hours.
        connection.request.headers.clear()
        connection.response = None
        principal = connection.principal
        if path == MONITOR_PATH:
            await desk.monitor.converse(connection, principal)
        elif path == PISTON_PATH:
            # Few servers have such clients, and all would start later for it.
            from wsrunner.serving.piston_session import PistonSession

            await PistonSession(connection, desk.registry, desk.rate, principal).converse()
        elif path == RUN_PATH:
            session = JsonSession(
                connection, desk.registry, desk.house, desk.hall, desk.rate, principal=principal
            )
            await session.converse()
        else:
            language = path.removeprefix(f"{RUN_PATH}/")
            plain = PlainSession(connection, desk.registry, desk.rate, principal, language)
            await plain.converse()

    return await listen(
        converse,
        sock=listener,
        ssl=None if certificate is None else certificate.context,
        process_request=process_request,
        process_response=handshake.answer_subprotocol,
        compression=None,
        create_connection=cast("type[Connection]", partial(Entrance, doorway=doorway)),
        max_size=desk.settings.message_kb * KIB + MESSAGE_EXCESS_BYTES,
        max_queue=MESSAGES_AHEAD,
        ping_interval=PING_EVERY_S,
        # A pong waits behind the output that a slow client has yet to read; see `Port.watch`.
        ping_timeout=None,
        open_timeout=CLOSE_S,
        write_limit=WRITE_LIMITS,
        server_header=None,
    )
