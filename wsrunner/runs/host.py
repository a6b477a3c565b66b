"""What all runs of this process share: gate, engine, pool, limits, and who hears of them.

Owns the queue's memory and the observers; the rest is lent. Must not import websockets.
"""

from __future__ import annotations

from wsrunner.engines.base import Engine
from wsrunner.errors import DrainingError, NotAllowedError, WsrunnerError
from wsrunner.gates.base import Gate
from wsrunner.languages import Catalogue
from wsrunner.runs.events import Exit
from wsrunner.runs.job import Allowance, Job
from wsrunner.runs.memory import QueueMemory
from wsrunner.runs.observers import Facts, Observer, RunLog
from wsrunner.runs.order import Order, lowered, make_order
from wsrunner.runs.pool import Pool
from wsrunner.runs.workspaces import Workspaces
from wsrunner.settings import Settings

DRAIN_RETRY_S = 5.0


class Host:
    """What runs run with.

    Args:
        settings: The server's.
        catalogue: The languages.
        gate: Admits runs.
        engine: Runs them.
        engine_name: The gate's name for it.
        pool: Lends the engine's containers.
        workspaces: Has those that are kept between runs.

    Attributes:
        starting: Until engine and gate are there; who needs one of them waits for it.
        draining: Set it to take no new runs.
        observers: Hear of every run; add to them before the first.
        queue_memory: What all waiting runs keep.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        catalogue: Catalogue,
        gate: Gate,
        engine: Engine,
        engine_name: str,
        pool: Pool,
        workspaces: Workspaces,
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.gate = gate
        self.engine = engine
        self.engine_name = engine_name
        self.pool = pool
        self.workspaces = workspaces
        self.queue_memory = QueueMemory()
        self.observers: list[Observer] = [RunLog()]
        self.starting = True
        self.draining = False

    async def order(self, job: Job, may: Allowance) -> Order:
        """Check a job against the catalogue, the limits and the images that are there.

        Args:
            job: What is to be run.
            may: What its sender may have.

        Raises:
            NotAllowedError, DrainingError, UnknownLanguageError, LimitOutOfRangeError,
            ImageMissingError, EngineUnavailableError, BadMessageError: It can't be accepted.
        """
        if self.draining:
            raise DrainingError(
                "the server is stopping and takes no new runs", retry_after_s=DRAIN_RETRY_S
            )
        present = await self.engine.images()
        language = self.catalogue.find(job.language)
        if may.languages is not None and language.id not in may.languages:
            shown = ", ".join(sorted(may.languages)) or "none"
            raise NotAllowedError(
                f"you may not run {language.id}; you may run {shown}", path="$.language"
            )
        settings = lowered(self.settings, may.limits)
        return make_order(job, catalogue=self.catalogue, settings=settings, present=present)

    def tell_accepted(self, run: Facts) -> None:
        """Tell the observers of a run that has been checked."""
        for observer in self.observers:
            observer.accepted(run)

    def tell_refused(self, error: WsrunnerError) -> None:
        """Tell the observers of a job that is not accepted, be there a run for it or not."""
        for observer in self.observers:
            observer.refused(error)

    def tell_ended(self, run: Facts, event: Exit) -> None:
        """Tell the observers of a run's end."""
        for observer in self.observers:
            observer.ended(run, event)
