"""The estimate under a steady load, with a clock of the test's own."""

import heapq
import random
import statistics

import pytest

from wsrunner.gates.base import Shares, Ticket
from wsrunner.gates.estimate import REMEMBERED, Estimate
from wsrunner.gates.lanes import Line

SLOTS = 4


def load(kind, dice):
    """Return how long a run takes, in seconds: 1 in the mean."""
    if kind == "alike":
        return dice.uniform(0.8, 1.2)
    return dice.expovariate(1.0) if kind == "any" else dice.choice([0.2, 0.2, 2.6])


@pytest.mark.parametrize("kind", ["alike", "any", "short or long"])
def test_half_of_all_estimates_are_right_to_a_fifth(kind):
    dice = random.Random(4)
    line, estimate, now = Line(SLOTS, 1000, {}, Shares()), Estimate(), 0.0
    ends, told, since, errors = [], {}, {}, []

    def arrive(number):
        entry = line.enter(Ticket(str(number), user=f"u{dice.randrange(1000)}"))
        if entry.fence:
            begin(entry)
        else:
            eta_s = estimate.eta_s(line.waiting, SLOTS)
            if eta_s is not None:
                told[entry.ticket.id] = now, eta_s

    def begin(entry):
        ticket_id = entry.ticket.id
        since[ticket_id] = now
        heapq.heappush(ends, (now + load(kind, dice), ticket_id))
        if number > 400 and ticket_id in told:
            asked_s, eta_s = told[ticket_id]
            waited_s = now - asked_s
            errors.append(abs(eta_s - waited_s) / max(waited_s, 0.1))

    for number in range(30):
        arrive(number)
    for number in range(30, 3000):
        now, ticket_id = heapq.heappop(ends)
        estimate.note(now - since.pop(ticket_id))
        line.leave(ticket_id)
        for entry in line.grants():
            begin(entry)
        arrive(number)  # as many come as go
    assert len(errors) > 2000
    assert statistics.median(errors) <= 0.2


def test_only_the_last_permits_count():
    estimate = Estimate()
    assert estimate.eta_s(1, 1) is None
    for _ in range(REMEMBERED):
        estimate.note(100.0)
    for _ in range(REMEMBERED):
        estimate.note(2.0)
    assert estimate.eta_s(3, 2) == pytest.approx(3.0)
    assert estimate.eta_s(3, 0) is None
