"""Reads a recorded history against the gate's rules and lists what breaks them.

A history is a list of events as `worker` writes them, and windows: stretches in which a fault was
on. What a window excuses is said at each rule. What is promised by the next heartbeat is due when
the replicas' heartbeats were answered, however long a busy machine takes over them; nothing else
is excused.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class Window:
    """A fault.

    Attributes:
        kind: "gone" (the replica was killed), "still" (it stood still: stopped or blocked),
            "cut" (it could not reach Redis), "down" (nobody could, or Redis lost its data).
        replica: Whose fault it was; None for everybody's.
        start: When it began.
        end: When it ended; a killed replica's at its death.
    """

    kind: str
    start: float
    end: float
    replica: str | None = None


@dataclass
class Stay:
    replica: str
    ticket: str
    engine: str
    asks: float
    place: tuple | None = None  # (time, seq)
    runs: tuple | None = None  # (time, fence)
    stops: float | None = None
    ends: float | None = None
    at: list = field(default_factory=list)
    died: bool = False

    def waits_until(self, horizon):
        return self.runs[0] if self.runs else self.ends or horizon


@dataclass
class Gate:
    slots: int
    caps: dict
    lease_s: float
    beat_s: float


class Beats:
    """When heartbeats were sent and answered, in s: a machine that stands still has none."""

    def __init__(self, events, windows):
        self._by_replica = defaultdict(list)
        self._end = {w.replica: w.start for w in windows if w.kind == "gone"}
        for time, replica, event, _, *values in sorted(events):
            if event == "beats":
                self._by_replica[replica].append((values[0], time))
            elif event == "closes":
                self._end[replica] = time

    def heard(self, replica, time):
        """Return when the last one was sent that this replica had the answer to at `time`."""
        return max((s for s, answer in self._by_replica[replica] if answer <= time), default=0.0)

    def passed(self, time, replica=None):
        """Return when this replica, or each that lives, has had two since `time`."""
        names = list(self._by_replica) if replica is None else [replica]
        return max((self._passed(time, name) for name in names), default=time)

    def _passed(self, time, replica):
        beats = self._by_replica[replica]
        second = bisect_left(beats, (time, 0.0)) + 1
        answered = beats[second][1] if second < len(beats) else float("inf")
        return min(answered, max(time, self._end.get(replica, float("inf"))))


def read(events):  # noqa: C901  one case an event
    """Return the stays by ticket, and what is wrong already at reading (rule 3)."""
    stays, wrong, fences = {}, [], {}
    for time, replica, event, ticket, *values in sorted(events):
        if event == "asks":
            stays[ticket] = Stay(replica, ticket, values[0], time)
        stay = stays.get(ticket)
        if stay is None:
            continue
        if event == "place":
            stay.place = (time, values[0])
        elif event == "at":
            stay.at.append((time, values[0]))
        elif event == "runs":
            if stay.runs:
                wrong.append(f"rule 3: {ticket} runs twice")
            if values[0] in fences:
                wrong.append(f"rule 3: {ticket} and {fences[values[0]]} have fence {values[0]}")
            fences[values[0]] = ticket
            stay.runs = (time, values[0])
        elif event == "stops":
            stay.stops = time
        elif event == "ends":
            stay.ends = time
    return stays, wrong


def check(events, gate, windows=(), horizon=None):
    """Return every breach of rules 1 to 5, as one line each.

    `horizon` is when the recording ended, if that was not with the last event.
    """
    events = list(events)
    if not events:
        return ["nothing happened"]
    horizon = horizon or max(event[0] for event in events)
    stays, wrong = read(events)
    beats = Beats(events, windows)
    for window in windows:
        for stay in stays.values():
            if (window.kind, window.replica) == ("gone", stay.replica) and not stay.ends:
                stay.ends, stay.died = window.start, True
    runs = [_Run(stay, windows, gate, horizon) for stay in stays.values() if stay.runs]
    return [
        *wrong,
        *too_many(runs, gate),
        *out_of_order(stays),
        *kept_waiting(stays, runs, gate, windows, horizon, beats),
        *rising(stays, gate, beats),
        *drifting(stays, gate, windows, horizon, beats),
    ]


class _Run:
    """When a run surely ran, and how long its slot may have been taken at most."""

    def __init__(self, stay, windows, gate, horizon):
        self.engine = stay.engine
        self.start = stay.runs[0]
        end = stay.stops or stay.ends or horizon
        self.slot_end = end + (gate.lease_s + 1 if stay.died and not stay.stops else 0)
        self.spans = [(self.start, end)]
        for window in windows:
            if window.kind == "still" and window.replica == stay.replica:
                # Redis gives its slot away while it can't notice: the one window of rule 1.
                self.spans = _without(self.spans, window.start + 0.7 * gate.lease_s, window.end)


def _without(spans, start, end):
    parts = ((max(a, x), min(b, y)) for a, b in spans for x, y in ((0, start), (end, 1e18)))
    return [(a, b) for a, b in parts if a < b]


def too_many(runs, gate):
    """Rule 1: never more than N, nor than an engine's capacity."""
    changes = sorted(
        change
        for run in runs
        for start, end in run.spans
        for change in ((start, 1, run.engine), (end, -1, run.engine))
    )
    total, on = 0, Counter()
    for time, change, engine in changes:
        total += change
        on[engine] += change
        if total > gate.slots:
            yield f"rule 1: {total} run with N={gate.slots} at {time:.3f}"
            return
        if on[engine] > gate.caps.get(engine, gate.slots):
            yield f"rule 1: {on[engine]} run on {engine} at {time:.3f}"
            return


def out_of_order(stays):
    """Rule 2: on one engine, grants to waiters follow their places."""
    lanes = defaultdict(list)
    for stay in stays.values():
        if stay.runs and stay.place:
            lanes[stay.engine].append((stay.runs[1], stay.place[1], stay.ticket))
    for engine, lane in lanes.items():
        for (_, seq, ticket), (_, next_seq, next_ticket) in pairwise(sorted(lane)):
            if next_seq < seq:
                yield f"rule 2: {ticket} was granted before {next_ticket} on {engine}"


def kept_waiting(stays, runs, gate, windows, horizon, beats):  # noqa: C901, PLR0912, PLR0917  one sweep
    """Rule 4 (and 2, between engines): nobody waits while a slot is free.

    A lost wake-up is repaired within a heartbeat + 0.2 s; the rest, and two heartbeats of every
    replica, are for a busy machine. Slots of the dead count as taken for lease + 1 s; while Redis
    is away, and until everybody has had the time to be back, nobody expects a grant.
    """
    allowed_s = gate.beat_s + 0.2 + 0.5
    marks = []
    for run in runs:
        marks += [(run.start, 1, run.engine, None), (run.slot_end, -1, run.engine, None)]
    for stay in stays.values():
        if stay.place:
            until = stay.waits_until(horizon)
            marks += [(stay.place[0], 2, stay.engine, stay), (until, -2, stay.engine, stay)]
    marks.append((horizon, 0, "", None))
    marks.sort(key=lambda mark: mark[:2])
    excused = [
        (window.start, window.end + gate.lease_s + 1 + allowed_s, window.replica)
        for window in windows
    ]
    total, on, waiting, free_since, first = 0, Counter(), defaultdict(dict), {}, {}
    for time, change, engine, stay in marks:
        for name, free in free_since.items():
            waiter, came_first = first.get(name, (None, 0.0))
            if waiter is None:
                continue
            since = max(free, came_first)
            if time > max(since + allowed_s, beats.passed(since)) and not any(
                start <= time and since <= end for start, end, _ in excused
            ):
                yield (
                    f"rule 4: {waiter.ticket} waits on {name} from {since:.3f} to {time:.3f} "
                    f"while {total} of {gate.slots} run"
                )
                return
        if change in {1, -1}:
            total += change
            on[engine] += change
        elif change == 2:
            waiting[engine][stay.ticket] = stay
        elif change == -2:
            waiting[engine].pop(stay.ticket, None)
        # A slot may be granted, and not known to be yet: the next one has its time from then on.
        now_first = min(waiting[engine].values(), key=lambda w: w.place[1], default=None)
        if first.get(engine, (None,))[0] is not now_first:
            first[engine] = now_first, time
        for name in {engine, *waiting}:
            cap = gate.caps.get(name, gate.slots)
            if total < gate.slots and on[name] < cap:
                free_since.setdefault(name, time)
            else:
                free_since.pop(name, None)


def rising(stays, gate, beats):
    """Rule 5: a position rises only by those that were put before it meanwhile."""
    slack_s = gate.beat_s + 0.7
    placed = [stay for stay in stays.values() if stay.place]
    for stay in stays.values():
        for (since, before), (time, after) in pairwise(stay.at):
            known = min(since - slack_s, beats.heard(stay.replica, since))
            came = sum(
                known < other.place[0] <= time and other.place[1] < stay.place[1]
                for other in placed
            )
            if after > before + came:
                yield f"rule 5: {stay.ticket} was told {[position for _, position in stay.at]}"
                break


def drifting(stays, gate, windows, horizon, beats):
    """Rule 5: a position isn't lower than the tickets that are surely before it."""
    slack_s = gate.beat_s + 0.7
    placed = [stay for stay in stays.values() if stay.place]
    told = [(time, stay, position) for stay in placed for time, position in stay.at]
    told += [(stay.place[0], stay, None) for stay in placed]
    waiting = []
    for time, stay, position in sorted(told, key=lambda mark: mark[0]):
        waiting = [other for other in waiting if other.waits_until(horizon) > time]
        if position is None:
            waiting.append(stay)
        elif not any(
            window.start <= time + slack_s and time <= window.end + gate.lease_s + 1
            for window in windows
        ):
            ahead = sum(
                other.place[1] < stay.place[1]
                and (other.place[0] < time - slack_s or other.ticket == stay.ticket)
                and other.waits_until(horizon)
                > max(time + slack_s, beats.passed(time, other.replica))
                for other in waiting
            )
            if position < ahead + 1:
                yield f"rule 5: {stay.ticket} was told {position} with {ahead} before it"
                return
