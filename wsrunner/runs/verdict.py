"""Why a run ended, from what is known of its end.

Owns the mapping from reports to reasons. Pure.
"""

from __future__ import annotations

import signal as signals
from typing import NamedTuple

from wsrunner.engines.base import Report
from wsrunner.runs.events import Reason

CPU_SKEW = 0.5
"""The kernel's limit counts ticks, the report nanoseconds: 0.81 s of 1 s was seen when busy."""
SHELL_SIGNAL_BASE = 128
"""What a shell adds to the number of a signal that ended its child (POSIX 2.8.2)."""


class Verdict(NamedTuple):
    """A run's outcome: `code` is set for ``exited``, `signal` (its name) for ``signaled``."""

    reason: Reason
    code: int | None = None
    signal: str | None = None


def of_report(report: Report, *, ending: Reason | None, cpu_limit_s: float) -> Verdict:
    """Judge a stage that reported its end.

    Args:
        report: What it said.
        ending: Why the server was ending the run already, if it was.
        cpu_limit_s: CPU seconds that each process was allowed.
    """
    if ending is not None:
        return Verdict(ending)
    if report.oom_kills and report.code != 0:
        return Verdict("out_of_memory")
    if _used_up(report, cpu_limit_s):
        return Verdict("cpu_limit")
    if report.signal is None:
        return Verdict("exited", code=report.code)
    return Verdict("signaled", signal=signal_name(report.signal))


def _used_up(report: Report, cpu_limit_s: float) -> bool:
    """Whether the CPU limit ended it."""
    used_s = report.cpu_s or 0.0
    # A shell between us and the program passes the signal on as a code.
    passed_on = report.code == SHELL_SIGNAL_BASE + signals.SIGXCPU
    return (
        report.signal == signals.SIGXCPU
        # The hard limit, for a program that ignores that.
        or (report.signal == signals.SIGKILL and used_s >= cpu_limit_s)
        or (passed_on and used_s >= CPU_SKEW * cpu_limit_s)
    )


def signal_name(number: int) -> str:
    """Return the name of a signal: ``SIGSEGV``, ``SIGRTMIN+3``."""
    try:
        return signals.Signals(number).name
    except ValueError:
        first = int(signals.SIGRTMIN)
        return f"SIGRTMIN+{number - first}" if number >= first else f"SIG{number}"
