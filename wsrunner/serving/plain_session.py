"""One socket's conversation in the plain protocol: source in, raw output out.

Owns what happens between a socket's opening and its end; the outcome is the close reason. The
course of a run is `runs.run`'s, its task the registry's.
"""

from __future__ import annotations

import asyncio
import contextlib

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from wsrunner.errors import BusyError, NoSuchRunError, TooLargeError, WsrunnerError
from wsrunner.runs.events import Event, Exit, Output, Refused
from wsrunner.runs.job import Job, Principal
from wsrunner.runs.registry import Registry
from wsrunner.runs.run import Run
from wsrunner.serving.outlet import Outlet
from wsrunner.serving.rate import RateLimiter
from wsrunner.units import KIB

CLOSE_DONE = 1000
CLOSE_NOT_ALLOWED = 1008
CLOSE_TOO_BIG = 1009
CLOSE_INTERNAL = 1011
CLOSE_TRY_LATER = 1013
"""RFC 6455 section 7.4.1, and the registry of close codes for 1013."""


class PlainSession:
    """The plain protocol on one socket; also its run's reader.

    Args:
        connection: An accepted WebSocket.
        registry: Starts the run.
        rate: How many runs a client may start.
        principal: Who is at the other end.
        language: Id or alias of the language, already found in the catalogue.
    """

    def __init__(
        self,
        connection: ServerConnection,
        registry: Registry,
        rate: RateLimiter,
        principal: Principal,
        language: str,
    ) -> None:
        self._connection = connection
        self._registry = registry
        self._rate = rate
        self._principal = principal
        self._language = language
        self._outlet = Outlet(connection, registry.host.settings.slow_client_s)
        self._text = False
        self._closing: asyncio.Task[None] | None = None

    async def converse(self) -> None:
        """Take the source, run it, pass stdin on, close with the outcome."""
        try:
            source = await self._connection.recv()
            self._text = isinstance(source, str)
            run = self._start(_bytes(source))
        except ConnectionClosed:
            return
        except WsrunnerError as exc:
            self._registry.host.tell_refused(exc)
            await self._close_with(exc)
            return
        try:
            async for message in self._connection:
                # What comes after the program's end, or after its end of file, has no reader.
                with contextlib.suppress(NoSuchRunError):
                    run.input.stdin(_bytes(message)) if message else run.input.eof()
        except WsrunnerError as exc:
            run.end("cancelled")
            await self._close_with(exc)
        except ConnectionClosed:
            pass
        finally:
            await self._registry.abandon([run])
            if self._closing is not None:
                await self._closing

    def _start(self, source: bytes) -> Run:
        """Start the one run.

        Raises:
            TooLargeError, RateLimitedError: It is refused.
        """
        max_bytes = self._registry.host.settings.message_kb * KIB
        if len(source) > max_bytes:
            raise TooLargeError(
                f"the source has {len(source)} bytes; the limit is {max_bytes} bytes"
            )
        self._rate.admit(self._principal)
        return self._registry.start(Job(self._language, code=source), self._principal, self)

    async def send(self, event: Event) -> None:
        """See `Reader.send`. Only output and the end show in this protocol."""
        if isinstance(event, Output):
            # Text can't hold bytes that are not UTF-8.
            await self._outlet.send(event.data, text=self._text and _is_text(event.data))
        elif isinstance(event, Exit):
            # Not awaited here: the closing handshake is the client's pace, and the run's slot is
            # not free before this returns.
            closing = self._outlet.close(CLOSE_DONE, outcome(event))
            self._closing = asyncio.create_task(closing)
        elif isinstance(event, Refused):
            await self._close_with(event.error)

    async def drop(self) -> None:
        """See `Reader.drop`."""
        await self._outlet.drop()

    def over(self) -> None:
        """See `Reader.over`."""

    async def _close_with(self, error: WsrunnerError) -> None:
        """Close the socket with what was wrong."""
        if isinstance(error, TooLargeError):
            await self._outlet.close(CLOSE_TOO_BIG, error.message)
            return
        code = CLOSE_TRY_LATER if isinstance(error, BusyError) else CLOSE_NOT_ALLOWED
        if error.code == WsrunnerError.code:
            code = CLOSE_INTERNAL
        await self._outlet.close(code, f"{error.code}: {error.message}")


def outcome(event: Exit) -> str:
    """Return an exit in a few words: ``exit 3``, ``signal SIGSEGV``, ``timeout``."""
    words = {"exited": f"exit {event.code}", "signaled": f"signal {event.signal}"}
    text = words.get(event.reason, event.reason)
    return f"{text} (build)" if event.stage == "build" else text


def _bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
