"""The terminal this command runs on: its mode and its size."""

from __future__ import annotations

import os
import termios
import tty
from contextlib import suppress
from typing import Any

from wsrunner.commands.descriptors import STDERR, STDIN, STDOUT

CELLS_MAX = 1000


class Terminal:
    """The local terminal's mode; `restore` undoes `make_raw`, any number of times."""

    def __init__(self) -> None:
        self._saved: list[Any] | None = None

    def make_raw(self) -> None:
        """Hand keys through as they are typed; does nothing where stdin is no terminal."""
        if self._saved is None and os.isatty(STDIN):
            self._saved = termios.tcgetattr(STDIN)
            tty.setraw(STDIN, termios.TCSANOW)

    def restore(self) -> None:
        """Set the mode that was found."""
        if self._saved is not None:
            # TCSANOW: waiting for output to drain hangs on a terminal that was stopped with ^S.
            with suppress(termios.error):
                termios.tcsetattr(STDIN, termios.TCSANOW, self._saved)
            self._saved = None

    @staticmethod
    def size() -> tuple[int, int]:
        """Return (columns, rows) as the protocol takes them; 80 by 24 where nobody knows."""
        for descriptor in (STDOUT, STDIN, STDERR):
            try:
                size = os.get_terminal_size(descriptor)
            except OSError:
                continue
            if size.columns and size.lines:
                return min(size.columns, CELLS_MAX), min(size.lines, CELLS_MAX)
        return 80, 24
