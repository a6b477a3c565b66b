"""What ``GET /metrics`` shows, in Prometheus text format.

Owns the names. Runs are counted here as plain numbers; gauges are read from their owners when asked
for. The client library, which costs a tenth of the server's start, is imported at the first request
for metrics only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from wsrunner.errors import WsrunnerError
from wsrunner.gates.base import GateState
from wsrunner.live.house import House
from wsrunner.rooms.hall import Hall
from wsrunner.runs.events import Exit
from wsrunner.runs.observers import Facts, Observer
from wsrunner.webhooks.dispatch import AttemptOutcome, Dispatch

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUEUED_BUCKETS_S = (0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
WALL_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class _Histogram:
    """Counts of observations by upper bound, in seconds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def observe(self, value_s: float) -> None:
        self._counts[bisect_left(self._bounds, value_s)] += 1
        self.sum_s += value_s

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, observations up to it), as Prometheus wants them: cumulative."""
        total = 0
        rows = []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            rows.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return rows


class Metrics(Observer):
    """Counts of what happened since the start.

    Attributes:
        house: Has the runs that are kept; set it once there is one.
        webhooks: Sends callbacks; likewise.
        hall: Has the rooms; likewise.
    """

    def __init__(self) -> None:
        self.house: House | None = None
        self.webhooks: Dispatch | None = None
        self.hall: Hall | None = None
        self._runs: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[str] = Counter()
        self._tenant_runs: Counter[tuple[str, str]] = Counter()
        self._tenant_wall_s: Counter[tuple[str]] = Counter()
        self._output_bytes = 0
        self._queued = _Histogram(QUEUED_BUCKETS_S)
        self._wall = _Histogram(WALL_BUCKETS_S)

    def ended(self, run: Facts, event: Exit) -> None:
        """Count a run that ended."""
        self._runs[run.language, event.reason] += 1
        if tenant := run.principal.tenant:
            self._tenant_runs[tenant, event.reason] += 1
            self._tenant_wall_s[tenant,] += event.wall_s  # type: ignore[assignment]  # a float
        self._output_bytes += event.output_bytes
        self._queued.observe(event.queued_s)
        self._wall.observe(event.wall_s)

    def refused(self, error: WsrunnerError) -> None:
        """Count a run that was not accepted, by the wire's error code."""
        self._refused[error.code] += 1

    def render(
        self,
        *,
        gate: GateState | None,
        warm: Mapping[tuple[str, bool], int],
        pool_hits: int,
        pool_misses: int,
        workspaces: int,
    ) -> bytes:
        """Return everything as Prometheus text.

        Args:
            gate: Its state; None if it can't be reached, and then nothing is said of it.
            warm: Spare containers by image and whether with a terminal.
            pool_hits: Runs that found a warm container.
            pool_misses: Runs that started one.
            workspaces: Those that are kept.
        """
        from prometheus_client import exposition
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        def counter(name: str, text: str, labels: list[str], rows: Iterable[Any]) -> Any:
            family = CounterMetricFamily(name, text, labels=labels)
            for values, value in rows:
                family.add_metric(values, value)
            return family

        def histogram(name: str, text: str, data: _Histogram) -> Any:
            family = HistogramMetricFamily(name, text)
            family.add_metric([], data.buckets(), data.sum_s)
            return family

        spares = GaugeMetricFamily(
            "wsrunner_pool_containers", "Warm containers.", labels=["image", "tty"]
        )
        for (image, tty), count in warm.items():
            spares.add_metric([image, str(tty).lower()], count)
        families = [
            counter(
                "wsrunner_runs",
                "Runs that ended.",
                ["language", "reason"],
                self._runs.items(),
            ),
            counter(
                "wsrunner_refused_runs",
                "Runs that were not accepted.",
                ["code"],
                (((code,), count) for code, count in self._refused.items()),
            ),
            counter(
                "wsrunner_tenant_runs",
                "Runs that ended, by tenant.",
                ["tenant", "reason"],
                self._tenant_runs.items(),
            ),
            counter(
                "wsrunner_tenant_wall_seconds",
                "Time that a tenant's runs took.",
                ["tenant"],
                self._tenant_wall_s.items(),
            ),
            counter("wsrunner_output_bytes", "Output delivered.", [], [((), self._output_bytes)]),
            histogram("wsrunner_queued_seconds", "Time in the queue.", self._queued),
            histogram("wsrunner_wall_seconds", "Time of a run's last stage.", self._wall),
            counter(
                "wsrunner_pool_leases",
                "Runs by whether a warm container was there.",
                ["outcome"],
                [(("hit",), pool_hits), (("miss",), pool_misses)],
            ),
            spares,
            GaugeMetricFamily("wsrunner_workspaces", "Workspaces, idle ones too.", workspaces),
            *self._kept(GaugeMetricFamily),
            counter(
                "wsrunner_webhook_attempts",
                "Attempts to send a callback.",
                ["outcome"],
                [((outcome,), self._attempts(outcome)) for outcome in get_args(AttemptOutcome)],
            ),
            GaugeMetricFamily(
                "wsrunner_webhooks_pending",
                "Callbacks that wait.",
                self.webhooks.pending if self.webhooks else 0,
            ),
            *self._rooms(GaugeMetricFamily),
        ]
        if gate is not None:
            families += [
                GaugeMetricFamily("wsrunner_gate_slots", "Slots of the gate.", gate.slots),
                GaugeMetricFamily("wsrunner_gate_held", "Slots in use.", gate.held),
                GaugeMetricFamily("wsrunner_gate_waiting", "Runs in the queue.", gate.waiting),
            ]

        class Snapshot:
            def collect(self) -> Iterable[Any]:
                return families

        text: bytes = exposition.generate_latest(Snapshot())
        return text

    def _attempts(self, outcome: str) -> int:
        return self.webhooks.outcomes[outcome] if self.webhooks else 0

    def _kept(self, gauge: Any) -> list[Any]:
        """Return what is kept of runs that outlive their sockets."""
        house = self.house
        return [
            gauge(
                "wsrunner_kept_runs", "Kept runs, ended ones too.", len(house.kept) if house else 0
            ),
            gauge(
                "wsrunner_kept_bytes",
                "Memory for their journals.",
                house.journal_bytes if house else 0,
            ),
            gauge(
                "wsrunner_kept_clients", "Clients attached to them.", house.attached if house else 0
            ),
        ]

    def _rooms(self, gauge: Any) -> list[Any]:
        """Return how many rooms there are, and people in them."""
        hall = self.hall
        return [
            gauge("wsrunner_rooms", "Rooms.", len(hall.homes) if hall else 0),
            gauge("wsrunner_room_people", "People in rooms.", hall.people if hall else 0),
            gauge(
                "wsrunner_room_bytes",
                "Bytes of their documents.",
                sum(room.held_bytes for room in hall.rooms.values()) if hall else 0,
            ),
        ]
