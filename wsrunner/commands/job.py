"""What ``wsrunner run``, ``attach`` and ``watch`` are asked to do.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Job:
    """What to run and how to show it; one field per option of ``wsrunner run``.

    Attributes:
        main: The main file's content.
        name: Its name; None for source that came from no file.
        extra: Further files, name → content.
        language: Id or alias; None to guess.
        limits: As `Client.run` takes them.
        stdin: File to read the program's stdin from, this process's own if None.
        no_stdin: The program gets end of file at once: its source came from stdin.
        keep_s: How long it goes on where the connection is lost; None ends it then.
        kept: (run, key) of a kept run to attach to, in place of all that says what to run.
        watch: Nothing is sent to it.
        outputs: Patterns of the files to bring back.
        out: Where to.
        workspace: Name of the workspace to run it in; None for a container of its own.
    """

    main: bytes = b""
    name: str | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)
    language: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    stdin: Path | None = None
    no_stdin: bool = False
    tty: bool = False
    merge: bool = False
    stats: bool = False
    json: bool = False
    keep_s: float | None = None
    kept: tuple[str, str] | None = None
    watch: bool = False
    outputs: tuple[str, ...] = ()
    out: Path | None = None
    workspace: str | None = None

    @property
    def outlives(self) -> bool:
        """Whether the run goes on without this command."""
        return self.keep_s is not None or self.kept is not None
