"""What all doors share: sockets, HTTP and its adapters start the same runs for the same people.

Owns nothing; holds what `server` has made.
"""

from __future__ import annotations

from dataclasses import dataclass

from wsrunner.live.house import House
from wsrunner.rooms.hall import Hall
from wsrunner.runs.host import Host
from wsrunner.runs.registry import Registry
from wsrunner.serving.access import Access
from wsrunner.serving.inlet import Inlet
from wsrunner.serving.metrics import Metrics
from wsrunner.serving.monitor import Monitor
from wsrunner.serving.rate import RateLimiter
from wsrunner.serving.seats import Seats
from wsrunner.settings import Settings
from wsrunner.webhooks.dispatch import Dispatch


@dataclass(frozen=True, slots=True)
class Desk:
    """What is needed to let somebody in and start a run.

    Attributes:
        settings: The server's.
        registry: Starts the runs.
        house: Has the runs that are kept.
        hall: Has the rooms.
        access: Says who is asking.
        rate: How many runs a client may start.
        seats: How many sockets and HTTP runs an address may have.
        inlet: What messages and bodies on their way in may hold.
        metrics: What ``/metrics`` shows.
        monitor: The operators' feed.
        webhooks: Tells others of runs' ends.
    """

    settings: Settings
    registry: Registry
    house: House
    hall: Hall
    access: Access
    rate: RateLimiter
    seats: Seats
    inlet: Inlet
    metrics: Metrics
    monitor: Monitor
    webhooks: Dispatch

    @property
    def host(self) -> Host:
        """What runs run with."""
        return self.registry.host
