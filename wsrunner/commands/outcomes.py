"""Which exit code and which line say how a run ended, or why there was none.

Pure. docs/client.md has the table.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence

from wsrunner.address import DEFAULT_URL
from wsrunner.client import ConnectError, ConnectionLostError, RunRefusedError
from wsrunner.protocol import Exit

EX_REFUSED = 64
EX_TOO_LARGE = 65
EX_NO_INPUT = 66
EX_UNAVAILABLE = 69
EX_INTERNAL = 70
EX_IO_ERROR = 74
EX_TRY_LATER = 75
EX_LOST = 76
EX_NO_PERMISSION = 77
"""Codes of sysexits.h, for what is not the program's doing."""

REASON_CODES: Mapping[str, int] = {
    "timeout": 124,  # as timeout(1)
    "cpu_limit": 128 + signal.SIGXCPU,
    "out_of_memory": 128 + signal.SIGKILL,  # as a shell shows the kernel's kill
    "output_limit": 128 + signal.SIGXFSZ,
    "cancelled": 128 + signal.SIGTERM,
    "lease_lost": EX_TRY_LATER,
    "replica_lost": EX_TRY_LATER,
    "engine_lost": EX_TRY_LATER,
    "draining": EX_TRY_LATER,
}
REFUSAL_CODES: Mapping[str, int] = {
    "too_large": EX_TOO_LARGE,
    "image_missing": EX_UNAVAILABLE,
    "internal": EX_INTERNAL,
    "queue_full": EX_TRY_LATER,
    "kept_full": EX_TRY_LATER,
    "workspaces_full": EX_TRY_LATER,
    "workspace_busy": EX_TRY_LATER,
    "workspace_elsewhere": EX_TRY_LATER,
    "rate_limited": EX_TRY_LATER,
    "gate_unavailable": EX_TRY_LATER,
    "engine_unavailable": EX_TRY_LATER,
    "draining": EX_TRY_LATER,
}
REASON_LINES: Mapping[str, str] = {
    "timeout": "the run took longer than its time limit and was ended",
    "cpu_limit": "the program used more CPU time than its limit and was ended",
    "out_of_memory": "the program used more memory than its limit and was ended",
    "output_limit": "the program printed more than its output limit and was ended",
    "cancelled": "the run was cancelled",
    "lease_lost": "the server lost the run's slot and ended it: try again",
    "replica_lost": "the server that ran it went away: try again",
    "engine_lost": "the server's container engine failed and the run ended: try again",
    "draining": "the server is stopping and ended the run: try again",
}


class StopError(Exception):
    """Ends the job with an exit code, and a line if there is something to say."""

    def __init__(self, code: int, line: str | None = None) -> None:
        super().__init__(line)
        self.code = code
        self.line = line


def exit_code(ended: Exit) -> int:
    """Return the exit code that a run's end stands for; docs/client.md has the table."""
    if ended.reason == "exited":
        return (ended.code or 0) & 0xFF
    if ended.reason == "signaled":
        try:
            return 128 + signal.Signals[ended.signal or ""].value
        except KeyError:
            return 128
    return REASON_CODES.get(ended.reason, EX_INTERNAL)


def explain(ended: Exit) -> str | None:
    """Return what to say about a run's end; None where the exit code says all."""
    build = ended.stage == "build"
    if ended.reason == "exited":
        return f"the build failed with code {ended.code}" if build and ended.code else None
    if ended.reason == "signaled":
        return f"the {'build' if build else 'program'} was ended by {ended.signal}"
    return REASON_LINES.get(ended.reason, f"the run ended: {ended.reason}")


def summarize(ended: Exit) -> str:
    """Return one line of a run's figures."""
    what: str = ended.reason
    if ended.reason in {"exited", "signaled"}:
        what += f" {ended.code if ended.reason == 'exited' else ended.signal}"
    if ended.stage != "run":
        what += f" ({ended.stage})"
    cpu = "-" if ended.cpu_ms is None else f"{ended.cpu_ms:.1f} ms"
    memory = "-" if ended.memory_kb is None else f"{ended.memory_kb / 1024:.1f} MiB"
    return (
        f"{what}, queued {ended.queued_ms:.0f} ms, wall {ended.wall_ms:.1f} ms, cpu {cpu}, "
        f"memory {memory}, output {ended.output_bytes} bytes{', truncated' * ended.truncated}"
    )


def unreachable(exc: ConnectError) -> StopError:
    """Return how the command ends where no connection came about."""
    if exc.status in {401, 403}:
        hint = ": give it with --token or WSRUNNER_TOKEN" if exc.status == 401 else ""  # noqa: PLR2004
        return StopError(EX_NO_PERMISSION, f"{exc}{hint}")
    if exc.status is not None:
        hint = ""
        if exc.status in {404, 405, 426}:
            hint = f"; --url takes the server's address, such as {DEFAULT_URL}"
        return StopError(EX_UNAVAILABLE, f"{exc}{hint}")
    return StopError(
        EX_UNAVAILABLE,
        f"{exc}: start one with `wsrunner serve`, or name one with --url or WSRUNNER_URL",
    )


def lost(exc: ConnectionLostError, *, kept: bool = False) -> StopError:
    """Return how the command ends where the connection broke off, and did not come back."""
    end = "the run may go on" if kept else "the run is cancelled"
    return StopError(EX_LOST, f"{exc}; {end}")


def refused(exc: RunRefusedError, known: Sequence[str] = ()) -> StopError:
    """Return how the command ends where the server refused the run.

    Args:
        exc: The refusal.
        known: Ids of the server's languages, to be named if that is what was wrong.
    """
    line = exc.message
    if exc.path and exc.code in {"bad_message", "limit_out_of_range"}:
        line += f" (at {exc.path})"
    if exc.code == "unknown_language" and known:
        line += f"; the server has {', '.join(known)}"
    if exc.retry_after_s is not None:
        line += f"; try again in {exc.retry_after_s:g} s"
    return StopError(REFUSAL_CODES.get(exc.code, EX_REFUSED), line)
