"""Byte code of the package, made ahead: a server may run as a user who can't keep it."""

from __future__ import annotations

import compileall
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def compile_ahead(folder: Path = PACKAGE) -> None:
    """Compile what has changed. Where nothing can be written, all goes on without."""
    compileall.compile_dir(folder, quiet=2)
