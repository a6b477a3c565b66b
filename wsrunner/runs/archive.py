"""What a container's archive of files holds, taken apart as it comes.

Owns the format: tar archives one behind the other (POSIX.1-1988, with GNU's long names), then a
line ``end STATUS``. Pure: no I/O. Whoever wrote it may have meant harm: nothing of it is believed
that matters, and nothing kept but a name.
"""

from __future__ import annotations

import re
import tarfile
from typing import NamedTuple

BLOCK_BYTES = 512
NAME_MAX_BYTES = 4096
"""Linux takes no longer path (PATH_MAX)."""
_END = re.compile(rb"end ([0-9]{1,3})\n\Z")
_ZEROS = bytes(BLOCK_BYTES)
_REGULAR = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})
_KINDS = {
    tarfile.LNKTYPE: "link",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}


class Entry(NamedTuple):
    """Something begins.

    Attributes:
        name: As it is in the archive, without a leading ``./``; what is no UTF-8 is escaped by
            surrogates.
        kind: ``file``, ``link``, ``device``, ``pipe`` or ``other``.
        size: Of a file, in bytes; else 0.
    """

    name: str
    kind: str
    size: int


class Piece(NamedTuple):
    """Some of the content of the entry before."""

    data: bytes


class BadArchiveError(Exception):
    """What comes is no archive: nothing behind this can be believed."""


class Archive:
    """Takes an archive apart as it comes.

    Attributes:
        status: How the program that wrote it ended, 0 for well; None before `finish`, or if the
            end has not come.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self._held = bytearray()
        self._left = 0  # of an entry's content, then of what fills its last block
        self._fill = 0
        self._shown = False  # whether the content is a file's
        self._long: bytearray | None = None  # a name that comes as content
        self._name: str | None = None  # for the next entry

    def feed(self, data: bytes) -> list[Entry | Piece]:
        """Return what the bytes bring, in order.

        Raises:
            BadArchiveError: They are none of an archive's.
        """
        self._held += data
        items: list[Entry | Piece] = []
        while True:
            if self._left:
                taken = self._take(self._left)
                if not taken:
                    return items
                self._left -= len(taken)
                self._content(taken, items)
            elif self._fill:
                taken = self._take(self._fill)
                if not taken:
                    return items
                self._fill -= len(taken)
            elif len(self._held) < BLOCK_BYTES:
                return items
            else:
                self._header(self._take(BLOCK_BYTES), items)

    def finish(self) -> None:
        """No more comes: sets `status`."""
        said = _END.match(self._held)
        if said and not self._left and not self._fill and self._name is None:
            self.status = int(said[1])

    def _take(self, most: int) -> bytes:
        taken = bytes(self._held[:most])
        del self._held[:most]
        return taken

    def _content(self, data: bytes, items: list[Entry | Piece]) -> None:
        if self._shown:
            items.append(Piece(data))
        elif self._long is not None:
            self._long += data
            if not self._left:
                name = bytes(self._long).rstrip(b"\0")
                self._name, self._long = name.decode(errors="surrogateescape"), None

    def _header(self, block: bytes, items: list[Entry | Piece]) -> None:
        if block == _ZEROS:
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as exc:
            raise BadArchiveError("not a header") from exc
        if info.size < 0:
            raise BadArchiveError("a negative size")
        content = info.size if info.type not in _KINDS else 0
        self._left, self._fill = content, -content % BLOCK_BYTES
        self._shown = info.type in _REGULAR
        if info.type == tarfile.GNUTYPE_LONGNAME:
            if not 0 < content <= NAME_MAX_BYTES + 1:
                raise BadArchiveError("a name of no possible length")
            self._long = bytearray()
        elif info.type != tarfile.GNUTYPE_LONGLINK:
            name, self._name = self._name or info.name, None
            kind = "file" if self._shown else _KINDS.get(info.type, "other")
            items.append(Entry(name.removeprefix("./"), kind, info.size if self._shown else 0))
