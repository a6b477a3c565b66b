"""Names of a run's files, and patterns that they match.

Owns which names there can be, going in and coming out. Pure.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

NAME_MAX_BYTES = 255
PATTERNS_MAX = 16
SHOWN_MAX = 255


def problem(name: str) -> str | None:
    """Say why something is no name of a file in the work directory; None if it is one."""
    if not name:
        return "is empty"
    if name.startswith("/"):
        return "is absolute; names are relative"
    if any(ord(character) < ord(" ") or character == "\x7f" for character in name):
        return "holds a control character"
    if "" in name.split("/"):
        return "has an empty part"
    if {".", ".."} & set(name.split("/")):
        return "has a part . or .."
    return None


def problem_outside(name: str) -> str | None:
    """Say why a name that a program has chosen is not to reach other machines; None if it may.

    Nothing of it is to move a cursor, to turn the direction of a line, or to be a path elsewhere.
    """
    if not name.isprintable():
        return "its name holds characters that are not printable"
    if "\\" in name:
        return "its name holds a backslash"
    size = len(name.encode())
    if size > NAME_MAX_BYTES:
        return f"its name has {size} bytes; the limit is {NAME_MAX_BYTES} bytes"
    found = problem(name)
    return f"its name {found}" if found else None


def pattern_problem(pattern: str) -> str | None:
    """Say why something is no pattern; None if it is one."""
    if "**" in pattern:
        return "has **, which stands for nothing; a / at the end stands for all in a folder"
    return problem(pattern.removesuffix("/"))


def shown(name: str) -> str:
    """Return a name as it can be shown anywhere, whatever it is."""
    safe = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in name[:SHOWN_MAX]
    )
    return safe if len(safe) <= SHOWN_MAX and len(name) <= SHOWN_MAX else f"{safe[:SHOWN_MAX]}…"


class Patterns:
    """Tells which names are wanted.

    Args:
        patterns: ``*`` stands for any characters of a name and ``?`` for one, neither for a
            slash; what ends with a slash stands for all that is below that folder.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [_parts(pattern) for pattern in patterns]

    def match(self, name: str) -> bool:
        """Whether a name matches one of them."""
        parts = name.split("/")
        return any(
            (len(parts) > len(wanted) if below else len(parts) == len(wanted))
            and all(map(fnmatch.fnmatchcase, parts, wanted))
            for wanted, below in self._patterns
        )


def _parts(pattern: str) -> tuple[list[str], bool]:
    below = pattern.endswith("/")
    parts = pattern.removesuffix("/").split("/")
    # Only two wildcards are promised, so that a name with a bracket means itself.
    return [part.replace("[", "[[]") for part in parts], below
