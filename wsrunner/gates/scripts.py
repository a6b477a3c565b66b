"""The gate's scripts, as Redis takes them."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from pathlib import Path

_INCLUDE = "-- include common.lua\n"
SCRIPTS = ("join", "enter", "leave", "beat", "part", "tune")


@cache
def script(name: str) -> str:
    """Return a script's text, with what all share where it asks for it."""
    text, common = (
        (Path(__file__).parent / f"{part}.lua").read_text("utf-8") for part in (name, "common")
    )
    assert text.count(_INCLUDE) == 1
    return text.replace(_INCLUDE, common)


@cache
def sha(name: str) -> str:
    """Return the name that Redis gives a script (EVALSHA)."""
    return sha1(script(name).encode()).hexdigest()  # noqa: S324  Redis names scripts so
