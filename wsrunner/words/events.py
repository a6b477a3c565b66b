"""The words of runs that the server says, and the result over HTTP."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from wsrunner.words.base import (
    Event,
    Reason,
    Stage,
)


class Accepted(Event, tag="accepted", kw_only=True, frozen=True):
    """A run is kept: `drive` lets anybody drive it, `view` watch it. Both are secrets."""

    run: str
    drive: str
    view: str


class Attached(Event, tag="attached", kw_only=True, frozen=True):
    """A kept run is heard from here on.

    Attributes:
        stage: Where it is, or ended.
        tty: Whether the program has a terminal.
        stdin_bytes: Bytes of this driver's stdin that have come.
        eofs: Its ends of file that have come.
    """

    run: str
    role: Literal["drive", "view"]
    stage: Stage
    tty: bool = False
    stdin_bytes: int = 0
    eofs: int = 0


class Detached(Event, tag="detached", kw_only=True, frozen=True):
    """Nothing more of this run is told here: the client asked for it, or has all of it."""

    run: str


class Gap(Event, tag="gap", kw_only=True, frozen=True):
    """Output of a kept run that is not there any more.

    Attributes:
        next: The `seq` from which it goes on.
        before_bytes: All output before that.
        missed_bytes: What of it this client did not get; null where the server can't know.
    """

    run: str
    next: int
    before_bytes: int
    missed_bytes: int | None = None


class Queued(Event, tag="queued", kw_only=True, frozen=True):
    """The run waits; `position` 1 is next, `waiting` counts all that wait.

    `eta_s`: seconds until its turn, roughly; left out while the server has nothing to go by.
    `overtaken`: by how many places it went back since the message before, because runs of other
    clients, whose turn comes earlier, were put before it; left out if it did not.
    """

    run: str
    position: int
    waiting: int
    eta_s: float | UnsetType = UNSET
    overtaken: int | UnsetType = UNSET


class Started(Event, tag="started", kw_only=True, frozen=True):
    """A stage began: ``build`` or ``run``. `seq` is that of a kept run's events.

    `workspace` comes with the first one of a run in a workspace: ``new``, or ``kept`` where files
    of earlier runs are there.
    """

    run: str
    stage: Stage
    seq: int | UnsetType = UNSET
    workspace: str | UnsetType = UNSET


class Stdout(Event, tag="stdout", kw_only=True, frozen=True):
    """Output: whole lines where they come whole.

    `seq` counts the run's output messages from 1; of a kept run it is that of its events.
    """

    seq: int
    data: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET


class Stderr(Stdout, tag="stderr", kw_only=True, frozen=True):
    """The same for standard error."""


class OutputFile(Event, tag="file", kw_only=True, frozen=True):
    """A piece of a file that the run has made; the last one ends at `size`.

    Attributes:
        name: Relative to the work directory, with ``/``.
        media_type: By its name's ending, such as ``image/png``.
        size: Of the whole file, in bytes.
        offset: Where the piece begins.
        base64: Its bytes.
        seq: Of a kept run's events.
    """

    name: str
    media_type: str
    size: int
    offset: int
    base64: str
    seq: int | UnsetType = UNSET


class LeftOut(Event, tag="left_out", kw_only=True, frozen=True):
    """Something that `outputs` asks for and that does not come.

    Attributes:
        name: What it is called, cut and escaped so that it can be shown; left out where this
            speaks of all that there is besides.
        reason: ``no_file`` (a link, a device, a pipe), ``too_large``, ``too_many``, ``bad_name``
            or ``unreadable``.
        message: The same in words.
        seq: Of a kept run's events.
    """

    name: str | UnsetType = UNSET
    reason: str
    message: str
    seq: int | UnsetType = UNSET


class Forgotten(Event, tag="forgotten", kw_only=True, frozen=True):
    """A workspace has ended, or ends with the run that goes on in it; its name is free."""

    workspace: str


class Waiting(Event, tag="waiting", kw_only=True, frozen=True):
    """The program wants input, and none is on its way to it; told once until some is sent.

    Attributes:
        run: The server's id.
        seq: Its number among the messages of a kept run.
    """

    run: str
    seq: int | UnsetType = UNSET


class Drained(Event, tag="drained", kw_only=True, frozen=True):
    """Flow control for much stdin: the program's side has taken `bytes` of it so far."""

    bytes: int


class Exit(Event, tag="exit", kw_only=True, frozen=True):
    """The one end of an accepted run; all of its output came before.

    Attributes:
        stage: Where it ended: ``queue`` (never started), ``build`` or ``run``.
        reason: Why; `code` is set for ``exited``, `signal` for ``signaled``.
        wall_ms: Time of that stage, by the container's clock.
        cpu_ms: CPU time of the container in that stage; null where the runtime does not tell.
        memory_kb: Peak memory of the container until its end in KiB, its files included; null
            likewise, and where the build before it needed more than the program.
        output_bytes: Bytes delivered.
        truncated: Whether output was left out because of ``output_kb``.
        seq: That of a kept run's events.
    """

    run: str
    stage: Stage
    reason: Reason
    code: int | None = None
    signal: str | None = None
    queued_ms: float = 0.0
    wall_ms: float = 0.0
    cpu_ms: float | None = None
    memory_kb: int | None = None
    output_bytes: int = 0
    truncated: bool = False
    seq: int | UnsetType = UNSET


class Error(Event, tag="error", kw_only=True, frozen=True):
    """A message that was not accepted; for a ``run`` it is the only answer."""

    code: str
    message: str
    path: str | UnsetType = UNSET
    retry_after_s: float | UnsetType = UNSET


class ResultFile(msgspec.Struct, kw_only=True, frozen=True):
    """A file that a run has made, in one piece."""

    name: str
    media_type: str
    size: int
    base64: str


class ResultLeftOut(msgspec.Struct, kw_only=True, frozen=True):
    """See `LeftOut`."""

    name: str | UnsetType = UNSET
    reason: str
    message: str


class Result(Event, kw_only=True, frozen=True):
    """A whole run in one answer, as HTTP gives it.

    Attributes:
        stdout: All of it, build and run; `stdout_base64` in its place where it is not UTF-8.
        stderr: Likewise.
        exit: How it ended.
        workspace: Of a run in one, ``new`` or ``kept``, see `Started`.
        files: What it has made, if `outputs` asked for files.
        left_out: Of that, what did not come.
    """

    run: str
    stdout: str | UnsetType = UNSET
    stdout_base64: str | UnsetType = UNSET
    stderr: str | UnsetType = UNSET
    stderr_base64: str | UnsetType = UNSET
    exit: Exit
    workspace: str | UnsetType = UNSET
    files: list[ResultFile] | UnsetType = UNSET
    left_out: list[ResultLeftOut] | UnsetType = UNSET


RunTold = (
    Accepted
    | Attached
    | Detached
    | Gap
    | Queued
    | Started
    | Stdout
    | Stderr
    | Waiting
    | OutputFile
    | LeftOut
    | Forgotten
    | Drained
    | Exit
    | Error
)
