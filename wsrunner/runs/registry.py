"""Every live run of this process, and the tasks that carry them.

Owns the tasks: who started a run holds a handle, not its life. Must not import websockets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from wsrunner.errors import WsrunnerError
from wsrunner.runs.delivery import Reader, ReaderGoneError
from wsrunner.runs.events import Reason, Refused
from wsrunner.runs.host import Host
from wsrunner.runs.job import Job, Principal
from wsrunner.runs.run import Run

log = logging.getLogger(__name__)


class Registry:
    """Starts runs, knows them while they live, and ends them.

    Args:
        host: What they run with.

    Attributes:
        live: Run id → run, until its container is gone.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.live: dict[str, Run] = {}
        self._tasks: dict[Run, asyncio.Task[None]] = {}

    def start(
        self, job: Job, principal: Principal, reader: Reader, *, run_id: str | None = None
    ) -> Run:
        """Start a run; its reader hears all of it, up to one `Exit` or `Refused`.

        Args:
            job: What to run.
            principal: Whose it is.
            reader: Who hears of it.
            run_id: Its name, of `run.new_run_id`, if it has one already.
        """
        run = Run(job, principal, host=self.host, reader=reader, run_id=run_id)
        task = self._tasks[run] = asyncio.create_task(self._carry(run))
        task.add_done_callback(lambda _: self._close(run))
        return run

    async def abandon(self, runs: Iterable[Run]) -> None:
        """Cancel runs that nobody wants any more; wait until nothing is left of them."""
        tasks = [self._tasks[run] for run in list(runs) if run in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def end(self, reason: Reason, *, waiting_only: bool = False) -> None:
        """End every live run, or those that still wait for a slot."""
        for run in list(self.live.values()):
            if not (waiting_only and run.admitted):
                run.end(reason)

    def _close(self, run: Run) -> None:
        del self._tasks[run]
        run.delivery.over()

    async def _carry(self, run: Run) -> None:
        """Let a run take its course, whatever comes of it."""
        try:
            error = await self._execute(run)
            if error is not None:
                await run.delivery.send(Refused(error))
        except ReaderGoneError:
            await run.delivery.drop()

    async def _execute(self, run: Run) -> WsrunnerError | None:
        """Return why it was refused, or what went wrong here; None if it had its exit."""
        self.live[run.run_id] = run
        try:
            await run.execute()
        except WsrunnerError as exc:
            return exc
        except ReaderGoneError:
            raise
        except Exception:
            log.exception("run %s failed", run.run_id)
            return WsrunnerError(f"an error of the server ended run {run.run_id}")
        finally:
            del self.live[run.run_id]
        return None
