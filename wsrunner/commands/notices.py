"""What ``wsrunner run`` itself says on stderr, beside what the program says there.

Owns where on the line the cursor is: a notice gets a line of its own, and the place in the queue is
shown on one that is cleared again.
"""

from __future__ import annotations

import os
from contextlib import suppress

from wsrunner.commands.descriptors import STDERR


class Notices:
    """The notices of one run."""

    def __init__(self) -> None:
        self._shows_position = os.isatty(STDERR)
        self._position_shown = False
        self._mid_line = False

    def say(self, line: str) -> None:
        """Write one line, on a line of its own."""
        self.clear_position()
        start = "\n" if self._mid_line and os.isatty(STDERR) else ""
        self._mid_line = False
        self._write(f"{start}wsrunner: {line}\n")

    def show_position(self, position: int, waiting: int) -> None:
        """Show the place in the queue: over the last one on a terminal, else on a line each."""
        text = f"waiting: position {position} of {waiting}"
        if self._shows_position:
            self._position_shown = True
            self._write(f"\r\x1b[K{text}")
        else:
            self.say(text)

    def clear_position(self) -> None:
        """Clear the place in the queue, if it is shown."""
        if self._position_shown:
            self._position_shown = False
            self._write("\r\x1b[K")

    def printed(self, descriptor: int, data: bytes) -> None:
        """Hear that the program printed, perhaps on the terminal that notices go to."""
        self._mid_line = os.isatty(descriptor) and not data.endswith(b"\n")

    @staticmethod
    def _write(text: str) -> None:
        # Few and short: these may block. Nobody being there to read them is no failure.
        with suppress(OSError):
            os.write(STDERR, text.encode(errors="replace"))
