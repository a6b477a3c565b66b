"""What happens to a run, as its readers are told: bytes and plain values, no client's ids, no JSON.

Owns the events. Pure. Every event but `Queued` and `Drained` is numbered by one `seq` from 1, so
that a reader knows what it has. An accepted run ends with one `Exit`, any other with one `Refused`,
and nothing comes after either.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from wsrunner.errors import WsrunnerError

Stage = Literal["queue", "build", "run"]
Reason = Literal[
    "exited",
    "signaled",
    "timeout",
    "cpu_limit",
    "out_of_memory",
    "output_limit",
    "cancelled",
    "lease_lost",
    "engine_lost",
    "replica_lost",
    "draining",
]


class Queued(NamedTuple):
    """It waits.

    Attributes:
        position: 1 is next.
        waiting: All that wait.
        eta_s: Seconds until it is its turn, as far as can be told; None if nothing can be told yet.
        overtaken: By how many places it went back since it was last told, because runs of other
            clients, whose turn comes earlier, were put before it.
    """

    position: int
    waiting: int
    eta_s: float | None = None
    overtaken: int = 0


class Started(NamedTuple):
    """A stage began.

    `workspace` is told with the first one of a run in a workspace: ``new``, or ``kept`` where files
    of earlier runs may be there.
    """

    seq: int
    stage: Stage
    workspace: str | None = None


class Output(NamedTuple):
    """Output of one stream (1 stdout, 2 stderr): whole lines where they come whole."""

    seq: int
    stream: int
    data: bytes


class Waiting(NamedTuple):
    """The program wants input, and none is on its way; told to those alone who asked for it."""

    seq: int


class File(NamedTuple):
    """A piece of a file that the run has made; `size` is the whole file's."""

    seq: int
    name: str
    media_type: str
    size: int
    offset: int
    data: bytes


class LeftOut(NamedTuple):
    """A file that was asked for and does not come, or all that there are besides (no name)."""

    seq: int
    name: str | None
    reason: str
    message: str


class Drained(NamedTuple):
    """The program's side has taken so many bytes of the stdin that came while it ran."""

    taken_bytes: int


class Exit(NamedTuple):
    """The one end of an accepted run; all of its output and its files came before.

    Attributes:
        stage: Where it ended: ``queue`` if it never started.
        reason: Why; `code` is set for ``exited``, `signal` (its name) for ``signaled``.
        queued_s: Time in the queue.
        wall_s: Time of the stage that it ended in.
        cpu_s: CPU time of that stage; None where the runtime does not tell.
        memory_bytes: Peak memory of the container; None likewise.
        output_bytes: Bytes delivered.
        truncated: Whether output was left out because of a limit.
    """

    seq: int
    stage: Stage
    reason: Reason
    code: int | None
    signal: str | None
    queued_s: float
    wall_s: float
    cpu_s: float | None
    memory_bytes: int | None
    output_bytes: int
    truncated: bool


class Refused(NamedTuple):
    """The one answer to a job that was not accepted, or that an error of the server ended."""

    error: WsrunnerError


Event = Queued | Started | Output | Waiting | File | LeftOut | Drained | Exit | Refused
