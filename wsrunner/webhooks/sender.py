"""One attempt to bring a message to its receiver.

Owns the HTTP client, and that it connects to nothing that `targets` does not let it: that is asked
of every address when the connection to it is made, whichever way it was found.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from yarl import URL

from wsrunner.webhooks.message import Message, headers_of
from wsrunner.webhooks.targets import Targets

CONNECT_S = 5.0
ANSWER_S = 15.0
"""From the beginning of an attempt to the head of its answer, whose body nobody reads."""
GONE = 410
_REASON_MAX = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt went.

    Attributes:
        status: Of the answer; None if there was none.
        error: What went wrong, if there was no answer; nothing of the URL but its host.
        retry_after: What the answer said in Retry-After.
        final: Whether it will never go otherwise.
    """

    status: int | None = None
    error: str = ""
    retry_after: str | None = None
    final: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the receiver has taken it."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - RFC 9110


class Sender:
    """Sends messages; ``async with`` opens and closes its connections.

    Args:
        targets: Where they may go.
        at_once: How many at the same time, at most.
    """

    def __init__(self, targets: Targets, at_once: int) -> None:
        self._targets = targets
        self._at_once = at_once

    async def __aenter__(self) -> Self:
        connector = TCPConnector(
            limit=self._at_once,
            # Connections are not kept: the next receiver is another one.
            force_close=True,
            use_dns_cache=False,
            socket_factory=self._socket,
        )
        self._session = ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=ClientTimeout(total=ANSWER_S, connect=CONNECT_S),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    def _socket(self, info: Any) -> socket.socket:
        """Return a socket that is about to be connected to an address, if that may be."""
        family, kind, protocol, _, address = info
        if why := self._targets.why_not(str(address[0])):
            raise PermissionError(f"{address[0]} is {why}")
        return socket.socket(family, kind, protocol)

    async def send(self, message: Message, attempt: str) -> Outcome:
        """Make one attempt.

        Args:
            message: What is sent.
            attempt: The attempt's own id.

        Cancelling is safe: the receiver may have it, or not.
        """
        headers = headers_of(message, attempt, time.time())
        try:
            # As its client has written it, which is what a receiver may compare it with.
            url = URL(message.url, encoded=True)
            async with self._session.post(
                url, data=message.body, headers=headers, allow_redirects=False
            ) as response:
                again = response.headers.get("Retry-After")
                return Outcome(response.status, retry_after=again, final=response.status == GONE)
        except TimeoutError:
            return Outcome(error=f"no answer within {ANSWER_S:g} s")
        except ClientConnectorError as exc:
            return Outcome(error=f"no connection: {exc.os_error}"[:_REASON_MAX])
        except (ClientError, ValueError, OSError) as exc:
            # Some of them quote the URL.
            return Outcome(error=type(exc).__name__)
