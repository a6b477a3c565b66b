"""What somebody asks to be run, in plain values: the same from a socket, a file or a test.

Owns `Job` and who it is for. Pure. Whether it can be run is `order`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one job; None for the server's own, which they may only lower."""

    wall_s: float | None = None
    cpu_s: float | None = None
    memory_mb: int | None = None
    output_kb: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One program to run.

    Attributes:
        language: Id or alias.
        code: Content of the language's main file; None if there are `files`.
        files: Relative name → content, the main file first; None if there is `code`.
        stdin: All of stdin; None if it stays open.
        args: Appended to the run command, each one argument.
        env: Variables for build and run.
        command: Shell line in place of the language's run command, or None.
        limits: Its own limits.
        window: (columns, rows) of a terminal, or None for pipes.
        merge: Whether stderr comes as stdout, in the order in which both were written.
        outputs: Patterns of the files to bring back, see `names.Patterns`.
        workspace: Name of the workspace to run it in, or None for a container of its own.
        waiting: Whether to tell when the program wants input.
    """

    language: str
    code: bytes | None = None
    files: Mapping[str, bytes] | None = None
    stdin: bytes | None = None
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    limits: Limits = Limits()
    window: tuple[int, int] | None = None
    merge: bool = False
    outputs: Sequence[str] = ()
    workspace: str | None = None
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: made from a request by `serving.access`, carried to ticket, rate and log.

    Attributes:
        client: What tells one client from another, for rates: an address. Never logged.
        tenant: Whose share of slots and queue its runs use; empty for nobody's.
        user: Whom the gate takes for one client: they take turns. An address, or a socket's number
            where an address says nothing; empty for nobody. Never logged.
        operator: Whether it may watch and command the server.
    """

    client: str
    tenant: str = ""
    user: str = ""
    operator: bool = False
