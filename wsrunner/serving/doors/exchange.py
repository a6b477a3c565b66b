"""One HTTP connection: aiohttp's, with our errors, and an end for clients that take nothing.

Owns when a client counts as gone. What is answered is `app`'s and the doors'.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong

from wsrunner.serving import answers
from wsrunner.serving.answers import Answer
from wsrunner.serving.connection import FAREWELL_S
from wsrunner.serving.entrance import HEAD_MAX_BYTES, LINE_MAX_BYTES
from wsrunner.serving.tls import end_sending

log = logging.getLogger(__name__)

SERVER = "wsrunner"
"""aiohttp would tell its version, and Python's."""
_QUOTED_MAX = 200
FRAMES_MAX_BYTES = 32 * 1024
"""Of a body's chunks beside what is in them, ..."""
FRAMES_SHARE = 1 / 16
"""... and beyond that, as a share of it: a chunk takes longer to read than a thousand bytes."""


class Exchange(web.RequestHandler):
    """A connection with requests, one after the other; made by `app`.

    Args:
        server: aiohttp's.
        slow_client_s: How long its client may take nothing of what waits for it.
        write_limits: Bytes that wait for it beyond which, and down to which, nothing more is sent.
        options: See aiohttp's.

    Attributes:
        half_closed: Whether its client has said that no more comes.
        body_cut: Whether it said so before a body's end.
        crumbs: What is wrong with a body that comes in all too small chunks.
    """

    __slots__ = (
        "_arriving",
        "_head_bytes",
        "_link",
        "_running",
        "_slow_client_s",
        "_stuck",
        "_unsent_bytes",
        "_wire_bytes",
        "_write_limits",
        "body_cut",
        "crumbs",
        "half_closed",
    )

    def __init__(
        self,
        server: web.Server,
        *,
        slow_client_s: float,
        write_limits: tuple[int, int],
        **options: Any,
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.half_closed = False
        self.body_cut = False
        self.crumbs = ""
        self._wire_bytes = 0
        self._link: asyncio.Transport | None = None
        # The body of the last request there was; what comes behind it is the next one's head.
        self._arriving: StreamReader | None = None
        self._head_bytes = 0
        self._running = False
        self._slow_client_s = slow_client_s
        self._write_limits = write_limits
        self._stuck: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """Take a client that closes its half during the block for one that has hung up."""
        self._running = True
        self._cut_unheard()
        try:
            yield
        finally:
            self._running = False

    def end_body(self, request: web.BaseRequest) -> None:
        """Let nobody wait for the rest of a body that does not come."""
        if not request.content.is_eof():
            self.body_cut = True
            request.content.feed_eof()

    def cut(self) -> None:
        """End it at once."""
        if self._link is not None:
            self._link.abort()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # aiohttp forgets its own when it closes it, whether or not all has been sent.
        self._link = cast("asyncio.Transport", transport)
        self._link.set_write_buffer_limits(*self._write_limits)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._unstick()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`; of a large read, the parser gets one part after the other."""
        # aiohttp calls it with nothing, too.
        for at in range(0, max(1, len(data)), HEAD_MAX_BYTES):
            self._parse(data[at : at + HEAD_MAX_BYTES])
        self._cut_unheard()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # None in aiohttp
        """See `asyncio.Protocol`: who has asked may close his half and read the answer.

        Not while a program runs for him: nothing tells that from a client that was killed.
        """
        self.half_closed = True
        if self._running:
            # Its end waits behind output that it may no longer read.
            self._loop.call_later(FAREWELL_S, self.cut)
            return None
        if self._current_request is not None:
            self.end_body(self._current_request)
        elif not self._request_in_progress:
            # What came right before may not have become a request yet.
            self._loop.call_later(FAREWELL_S, self._close_if_idle)
        return self._link is not None and self._link.can_write_eof()

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        super().pause_writing()
        self._stuck = self._loop.call_later(self._slow_client_s, self._give_up)

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._unstick()
        super().resume_writing()

    # Requests that come.

    def _parse(self, data: bytes) -> None:
        """Let aiohttp have data; it bounds a head's lines, and this their sum."""
        if self._head_bytes > HEAD_MAX_BYTES:
            # Refused. Read all the same: TCP would cut the answer short if it lay unread.
            return
        before, link = self._request_count, self._link
        super().data_received(data)
        if self._request_count > before and self._messages:
            self._arriving, self._head_bytes = self._messages[-1][1], 0
            self._wire_bytes = 0
        elif self._arriving is not None and not self._arriving.is_eof():
            self._wire_bytes += len(data)
            self._check_frames(self._arriving)
        elif link is not None and link.is_reading() and self._is_between():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse_head()

    def _check_frames(self, body: StreamReader) -> None:
        """Read no more of a body that is chunks more than it is a body.

        What came with its head is not counted, and what of it is there already only for it.
        """
        frames_bytes = self._wire_bytes - body.total_bytes
        if frames_bytes > FRAMES_MAX_BYTES + body.total_bytes * FRAMES_SHARE:
            self.crumbs = (
                f"the body's chunks are too small: {body.total_bytes} bytes have come in "
                f"{self._wire_bytes}"
            )
            # From now on all is read and dropped, see `_parse`.
            self._head_bytes = HEAD_MAX_BYTES + 1
            # Not by an exception: aiohttp would meet that once more behind the answer, and log it.
            body.feed_eof()
            self.close()

    def _is_between(self) -> bool:
        return self._arriving is None or self._arriving.is_eof()

    def _refuse_head(self) -> None:
        """Answer it, and end the connection; behind an answer that is due, only that."""
        due = self._request_in_progress or self._messages
        self.close()
        if not due and self._link is not None:
            message = f"the request's line and headers have more than {HEAD_MAX_BYTES} bytes"
            self._link.write(answers.error(431, "too_large", message).serialize())
            end_sending(self._link)
            self._loop.call_later(FAREWELL_S, self.cut)

    def _cut_unheard(self) -> None:
        """End it if a program runs for a client that nobody would hear hang up."""
        if self._running and self._link is not None and not self._link.is_reading():
            log.info("dropped an HTTP client that sends on while its program runs")
            self.cut()

    # Clients that take nothing.

    def stands_still(self) -> bool:
        """Whether it closes, and has sent nothing of what is left since this was asked last."""
        if self._link is None or not self._link.is_closing():
            return False
        before_bytes = self._unsent_bytes
        self._unsent_bytes = self._link.get_write_buffer_size()
        return 0 < self._unsent_bytes == before_bytes

    def _give_up(self) -> None:
        log.info("dropped an HTTP client that reads too slowly")
        self.cut()

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _close_if_idle(self) -> None:
        if not self._request_in_progress and self.transport is not None:
            self.transport.close()

    # Errors.

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return what is answered to what aiohttp can't take, or what a door failed at."""
        if status >= 500:  # noqa: PLR2004 - an error of the server's own
            log.error("a request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        response = response_of(_refusal(status, exc, message))
        response.headers["Server"] = SERVER
        response.force_close()
        return response


def response_of(answer: Answer) -> web.Response:
    """Return an answer as aiohttp sends it."""
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


def _refusal(status: int, exc: BaseException | None, message: str | None) -> Answer:
    if isinstance(exc, LineTooLong):
        return answers.error(
            431, "too_large", f"a line of the request's head has more than {LINE_MAX_BYTES} bytes"
        )
    if status >= 500:  # noqa: PLR2004 - see above
        return answers.error(500, "internal", "an error of the server ended the request")
    reason = (message or "not a request").strip().partition("\n")[0].rstrip(":")
    return answers.error(status, "bad_request", reason[:_QUOTED_MAX])
