"""Who hears what becomes of runs beside their readers: metrics, the monitor, the log.

Owns the interface and the log's side of it. Observers stand side by side; none may block or raise.
"""

from __future__ import annotations

import logging
from typing import Protocol

from wsrunner.errors import WsrunnerError
from wsrunner.runs.events import Exit, Stage
from wsrunner.runs.job import Principal

log = logging.getLogger(__name__)


class Facts(Protocol):
    """What an observer may know of a run: never its code, input or output."""

    run_id: str
    principal: Principal
    language: str
    stage: Stage

    @property
    def first_output_s(self) -> float | None:
        """Seconds from its beginning to its first output, if there was any."""
        ...


class Observer:
    """Hears of every run of this process; overrides what it cares for."""

    def accepted(self, run: Facts) -> None:
        """A job has been checked, and waits or runs."""

    def refused(self, error: WsrunnerError) -> None:
        """A job was not accepted."""

    def ended(self, run: Facts, event: Exit) -> None:
        """An accepted run has ended; its exit is about to be told."""


class RunLog(Observer):
    """Writes runs into the log, by id."""

    def accepted(self, run: Facts) -> None:
        """See `Observer`."""
        tenant = run.principal.tenant
        whose = f" for tenant {tenant}" if tenant else ""
        log.info("run %s: %s%s", run.run_id, run.language, whose)

    def ended(self, run: Facts, event: Exit) -> None:
        """See `Observer`."""
        log.info("run %s: %s after %.0f ms", run.run_id, event.reason, event.wall_s * 1e3)
