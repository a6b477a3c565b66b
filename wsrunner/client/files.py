"""Files that a run has made, as they come back in pieces.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET

from wsrunner import protocol
from wsrunner.errors import BadMessageError


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file that a run has made.

    Attributes:
        name: Relative to the work directory, with ``/``: its program's choice. To write it, see
            `wsrunner.commands.saving`; never join it to a path unseen.
        media_type: By the name's ending.
        content: All of it.
    """

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was asked for and did not come; `name` is None for all there may be besides."""

    name: str | None
    reason: str
    message: str


class Incoming:
    """Puts a run's files together.

    Attributes:
        files: Those that are whole.
        left_out: What does not come.
    """

    def __init__(self) -> None:
        self.files: list[RunFile] = []
        self.left_out: list[LeftOut] = []
        self._first: protocol.OutputFile | None = None
        self._torn = False
        self._content = bytearray()

    def tear(self) -> None:
        """Some messages are lost: the file that was coming does not become whole."""
        self._first, self._torn = None, True
        self._content.clear()

    def take(self, event: protocol.OutputFile | protocol.LeftOut) -> None:
        """Take one message.

        Raises:
            BadMessageError: A piece that does not follow the one before.
        """
        if isinstance(event, protocol.LeftOut):
            name = None if event.name is UNSET else event.name
            self.left_out.append(LeftOut(name, event.reason, event.message))
            return
        if not event.offset and self._first is None:
            self._first, self._torn = event, False
        elif self._torn:
            return  # the rest of a file whose beginning is lost
        first = self._first
        data = protocol.content_bytes(UNSET, event.base64, "$")
        end = event.offset + len(data)
        if (
            first is None
            or (first.name, first.size) != (event.name, event.size)
            or event.offset != len(self._content)
            or end > event.size
        ):
            raise BadMessageError(f"a piece at {event.offset} of a file is out of place")
        self._content += data
        if end == event.size:
            self.files.append(RunFile(first.name, first.media_type, bytes(self._content)))
            self._first = None
            self._content.clear()
