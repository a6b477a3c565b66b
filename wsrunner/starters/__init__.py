"""Programs that come up in a tool's place before its source is there, and then are that tool.

Owns their texts and how each is started. A starter loads the tool, has it do its work once so that
it is warm, and opens the FIFO in the main file's place; at its end all files are there, and it does
what the tool's own command does, with the same words. For tools alone, as a program could tell.
"""

from __future__ import annotations

import shlex
from functools import cache
from importlib import resources
from typing import Literal

Name = Literal["javac", "tsc"]
_WRITE = 'printf %s "$0" >/tmp/Javac.java; exec java "$@"'
_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "/tmp/Javac.java")  # noqa: S108 - in a container of its own
"""The source, which `java` compiles itself: that loads the compiler. The quick compiler to machine
code has it up after 1.3 s of CPU time, not 2.3 s, and it then takes no longer."""


def command(name: Name, file: str, line: str) -> str:
    """Return the shell line that starts a starter.

    Args:
        name: Which.
        file: The FIFO, by the main file's name.
        line: The tool's own command, of words.
    """
    if name == "tsc":
        words = ["node", "-e", _text("tsc.js")]
    else:
        words = ["sh", "-c", _WRITE, _text("Javac.java"), *_JAVA]
    return f"{shlex.join([*words, file])} {line}"


@cache
def _text(file: str) -> str:
    return resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
