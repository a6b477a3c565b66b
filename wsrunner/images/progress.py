"""Progress of several things at once: bars on a terminal, plain lines elsewhere.

Owns what ``setup`` and ``images`` show on stderr. Imports nothing of wsrunner.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO


class Task(Protocol):
    """One thing under way."""

    def stage(self, text: str) -> None:
        """Say what is done now."""
        ...

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Say how far it is; a `total_bytes` of 0 is an unknown total."""
        ...

    def end(self, text: str) -> None:
        """Say how it ended; the task's bar goes, this line stays."""
        ...


class Progress(Protocol):
    """Where tasks show."""

    def say(self, text: str) -> None:
        """Write one line that stays."""
        ...

    def task(self, name: str, text: str) -> Task:
        """Begin a task."""
        ...


@contextmanager
def show(stream: TextIO | None = None) -> Iterator[Progress]:
    """Open the display on `stream`, stderr if None: bars if it is a terminal, lines if not."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield Lines(stream)
        return
    # Loaded here, for it takes 0.1 s and a finished set-up shows nothing.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import Progress as Display

    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[name]}"),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Display(*columns, console=Console(file=stream), transient=True) as display:
        yield _Bars(display)


class Lines:
    """Writes a line per stage; byte counts would only flood a log.

    Args:
        stream: Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, text: str) -> None:
        """Write one line."""
        print(text, file=self._stream, flush=True)

    def task(self, name: str, text: str) -> Task:
        """Begin a task."""
        task = _LineTask(self, name)
        task.stage(text)
        return task


class _LineTask:
    def __init__(self, lines: Lines, name: str) -> None:
        self._lines = lines
        self._name = name
        self._last = ""
        self._begun = time.monotonic()

    def stage(self, text: str) -> None:
        if text != self._last:
            self._lines.say(f"{self._name}: {text}")
        self._last = text

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        pass

    def end(self, text: str) -> None:
        self._lines.say(f"{self._name}: {text} ({time.monotonic() - self._begun:.1f} s)")


class _Bars:
    def __init__(self, display: object) -> None:
        from rich.progress import Progress as Display

        assert isinstance(display, Display)
        self._display = display

    def say(self, text: str) -> None:
        self._display.console.print(text, markup=False, highlight=False)

    def task(self, name: str, text: str) -> Task:
        return _BarTask(self, name, text)


class _BarTask:
    def __init__(self, bars: _Bars, name: str, text: str) -> None:
        self._bars = bars
        self._display = bars._display  # noqa: SLF001 - the two are one
        self._name = name
        self._begun = time.monotonic()
        self._id = self._display.add_task(text, total=None, name=name)

    def stage(self, text: str) -> None:
        self._display.update(self._id, description=text)

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        self._display.update(self._id, completed=done_bytes, total=total_bytes or None)

    def end(self, text: str) -> None:
        self._display.remove_task(self._id)
        self._bars.say(f"{self._name}: {text} ({time.monotonic() - self._begun:.1f} s)")
