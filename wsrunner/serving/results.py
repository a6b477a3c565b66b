"""What answers that come at the end share: files gathered whole, and which ends are none."""

from __future__ import annotations

import base64
from typing import Any

from msgspec import UNSET

from wsrunner.protocol import ResultFile, ResultLeftOut
from wsrunner.runs.events import File, LeftOut

BROKEN = frozenset({"engine_lost", "lease_lost", "draining"})
"""Ends that are no program's doing."""


class GatheredFiles:
    """Takes what is told of a run's files."""

    def __init__(self) -> None:
        self._files: list[tuple[File, bytearray]] = []
        self._left_out: list[ResultLeftOut] = []

    def take(self, event: File | LeftOut) -> None:
        """Take one event, in order."""
        if isinstance(event, LeftOut):
            name = UNSET if event.name is None else event.name
            self._left_out.append(
                ResultLeftOut(name=name, reason=event.reason, message=event.message)
            )
        elif not event.offset:
            self._files.append((event, bytearray(event.data)))
        elif self._files and self._follows(event):
            self._files[-1][1].extend(event.data)

    def _follows(self, event: File) -> bool:
        """Whether a piece is the last file's next: those between may be in no journal any more."""
        first, content = self._files[-1]
        return first.name == event.name and len(content) == event.offset

    def fields(self) -> dict[str, Any]:
        """Return the fields of a result; none where there is nothing to tell."""
        files = [
            ResultFile(
                name=first.name,
                media_type=first.media_type,
                size=first.size,
                base64=base64.b64encode(content).decode("ascii"),
            )
            for first, content in self._files
            # The engine may have gone away in the middle of one, or pieces of it got lost.
            if len(content) == first.size
        ]
        given: dict[str, Any] = {"files": files, "left_out": self._left_out}
        return {name: value for name, value in given.items() if value}
