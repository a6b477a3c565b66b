"""Files that a run has made, on their way from its container to its reader.

Owns which come out, how many, how large, under which names, and what is told of those that do not.
What comes is the program's own and may be anything.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Mapping, Sequence

from wsrunner import names
from wsrunner.engines.base import STDOUT, BadReportError, Container, Frame, Item
from wsrunner.names import Patterns
from wsrunner.protocol import FILES_MAX
from wsrunner.runs.archive import Archive, BadArchiveError, Entry
from wsrunner.runs.delivery import Delivery
from wsrunner.runs.events import File, LeftOut
from wsrunner.units import KIB, MIB

PIECE_BYTES = 96 * KIB
"""Of one message; base64 makes 128 KiB of it."""
LEFT_OUT_MAX = 64
"""What is told of, one by one, that does not come."""
READ_FACTOR = 5
"""How much may be read, as a multiple of what may come out: of it all, most does not."""
DEFAULT_TYPE = "application/octet-stream"
_TYPES = mimetypes.MimeTypes()
_TYPES.add_type("image/webp", ".webp")


class _EnoughError(Exception):
    """Whatever else there is, is not read."""


class Outgoing:
    """Takes one run's files out.

    Args:
        patterns: Which are wanted.
        given: The files that were there before, name → content: they come only if they have
            changed.
        max_bytes: Of all files together.
        delivery: Where they go.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        given: Mapping[str, bytes],
        *,
        max_bytes: int,
        delivery: Delivery,
    ) -> None:
        self._wanted = Patterns(patterns)
        self._given = given
        self._max_bytes = self._room = max_bytes
        self._unread = READ_FACTOR * max_bytes + MIB
        self._delivery = delivery
        self._archive = Archive()
        self._sent = self._told = 0
        self._entry: Entry | None = None  # the one whose content comes and is wanted
        self._piece = bytearray()
        self._offset = 0

    async def bring(self, container: Container, first: Sequence[Item], *, wait_s: float) -> None:
        """Deliver the files, and tell what is left out.

        Args:
            container: What has them; nothing else can be had of it afterwards.
            first: What has been read of it behind its report.
            wait_s: How long it may take over all of it.

        Raises:
            ReaderGoneError: Nobody takes them.

        Cancelling is safe.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        try:
            items = first or await container.read(wait_s)
            while items:
                for item in items:
                    if isinstance(item, Frame) and item.stream == STDOUT:
                        await self._take(item.data)
                items = await container.read(until_s - loop.time())
            self._archive.finish()
        except _EnoughError:
            return
        except (BadArchiveError, BadReportError, TimeoutError):
            pass
        if self._archive.status != 0:
            await self._leave_out(
                None,
                "unreadable",
                "not all files could be read: they are locked or the program disturbed this, or "
                "its image has no find and tar",
            )

    async def _take(self, data: bytes) -> None:
        for item in self._archive.feed(data):
            if isinstance(item, Entry):
                await self._begin(item)
            elif self._entry is not None:
                await self._content(self._entry, item.data)
        self._unread -= len(data)
        if self._unread < 0:
            await self._leave_out(None, "too_large", "there is more than is looked through")
            raise _EnoughError

    async def _begin(self, entry: Entry) -> None:
        self._entry = None
        self._piece.clear()
        self._offset = 0
        if not self._wanted.match(entry.name):
            return
        if against := self._against(entry):
            await self._leave_out(names.shown(entry.name), *against)
            return
        self._entry = entry
        if not entry.size:
            await self._content(entry, b"")

    def _against(self, entry: Entry) -> tuple[str, str] | None:
        """Return what is against letting something out, as a code and in words."""
        if problem := names.problem_outside(entry.name):
            return "bad_name", problem
        if entry.kind != "file":
            return "no_file", f"a {entry.kind}, no regular file"
        return None if self._may_be_as_given(entry) else self._against_more(entry)

    def _against_more(self, entry: Entry) -> tuple[str, str] | None:
        """The same of a file that has been made or changed."""
        if self._sent == FILES_MAX:
            return "too_many", f"the limit is {FILES_MAX} files"
        if entry.size > self._room:
            return "too_large", (
                f"{entry.size} bytes; all files of a run may have {self._max_bytes} bytes, of "
                f"which {self._room} are left"
            )
        return None

    def _may_be_as_given(self, entry: Entry) -> bool:
        """Whether a file may be one that the run began with, by its size."""
        given = self._given.get(entry.name)
        return given is not None and len(given) == entry.size

    async def _content(self, entry: Entry, data: bytes) -> None:
        self._piece += data
        whole = self._offset + len(self._piece) == entry.size
        if self._may_be_as_given(entry):
            # It is no larger than a message, and kept until its end shows whether it has changed.
            if not whole or self._piece == self._given[entry.name]:
                return
            if against := self._against_more(entry):
                await self._leave_out(entry.name, *against)
                return
        while len(self._piece) > PIECE_BYTES:
            await self._send(entry)
        if whole:
            await self._send(entry)
            self._sent += 1
            self._room -= entry.size

    async def _send(self, entry: Entry) -> None:
        data = bytes(self._piece[:PIECE_BYTES])
        kind = _TYPES.guess_type(entry.name)[0] or DEFAULT_TYPE
        number = self._delivery.number()
        await self._delivery.send(File(number, entry.name, kind, entry.size, self._offset, data))
        del self._piece[: len(data)]
        self._offset += len(data)

    async def _leave_out(self, name: str | None, reason: str, message: str) -> None:
        if name is not None and self._told == LEFT_OUT_MAX:
            await self._leave_out(None, "too_many", "there are more that do not come")
            raise _EnoughError
        self._told += 1
        await self._delivery.send(LeftOut(self._delivery.number(), name, reason, message))
