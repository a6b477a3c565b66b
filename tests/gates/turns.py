"""Whose turn it is, told plainly: for the models that both gates are held against.

It also keeps the promise in words of its own: while a ticket waits that was its user's first in the
lane, every other user gets at most one grant there for each round from the first one that anybody
waits for up to its own, which are two, or three if its own user held something or had a turn.
"""

from collections import Counter


class Rounds:
    def __init__(self, start=0):
        self.latest = start
        self.lanes = {}  # while somebody waits there: the round, each user's last, grants to come
        self.places = {}  # ticket -> (round, number)
        self.number = 0
        self.overtaken = {}  # a user's first ticket -> [how often at most, by whom]

    def enter(self, ticket, held, queue):
        """Give a ticket its place; `held` and `queue` are without it."""
        lane = ticket.engine, ticket.tenant
        current, last, _ = self.lanes.setdefault(lane, [self.latest, {}, None])
        waiting = [self.places[id(other)][0] for other in queue if same_lane(other, ticket)]
        turn = current
        if ticket.user:
            holds = any(same_user(other, ticket) for other in held)
            turn = max(current + holds, last.get(ticket.user, current - 1) + 1)
            if not any(same_user(other, ticket) and same_lane(other, ticket) for other in queue):
                self.overtaken[id(ticket)] = [1 + turn - min([current, *waiting]), Counter()]
            last[ticket.user] = turn
        self.number += 1
        self.places[id(ticket)] = turn, self.number

    def ahead(self, ticket, queue):
        return sum(self.places[id(other)] < self.places[id(ticket)] for other in queue)

    def sorted(self, queue):
        return sorted(queue, key=lambda ticket: self.places[id(ticket)])

    def serve(self, ticket, queue):
        """A waiter is granted; it is in `queue` still."""
        turn, _ = self.places[id(ticket)]
        lane = self.lanes[ticket.engine, ticket.tenant]
        others = [self.places[id(t)][0] for t in queue if t is not ticket and same_lane(t, ticket)]
        if turn == lane[0] and lane[2] is not None:
            lane[2] -= 1
            if lane[2] == 0:
                lane[0] += 1
                lane[2] = None
                turn += 1
        if turn > lane[0] or lane[2] is None:
            lane[0] = max(turn, lane[0])
            lane[2] = others.count(lane[0]) + 1
        turn, _ = self.places[id(ticket)]
        self.latest = max(self.latest, turn)
        for other in queue:
            if not ticket.user or same_user(other, ticket) or not same_lane(other, ticket):
                continue
            if id(other) in self.overtaken:
                most, by = self.overtaken[id(other)]
                by[ticket.user] += 1
                assert by[ticket.user] <= most <= 3
        self._gone(ticket, queue)

    def give_up(self, ticket, queue):
        """A waiter left; it is not in `queue` any more."""
        self._gone(ticket, queue)
        lane = self.lanes.get((ticket.engine, ticket.tenant))
        if lane and not any(same_user(other, ticket) for other in queue):
            lane[1].update({u: min(t, lane[0]) for u, t in lane[1].items() if u == ticket.user})

    def _gone(self, ticket, queue):
        if not any(same_lane(other, ticket) for other in queue if other is not ticket):
            del self.lanes[ticket.engine, ticket.tenant]


def same_lane(one, other):
    return (one.engine, one.tenant) == (other.engine, other.tenant)


def same_user(one, other):
    return bool(one.user) and (one.tenant, one.user) == (other.tenant, other.user)


def refusal(ticket, queue, queue_max, share):
    """Say whose limit keeps a ticket out of the queue; None if there is room for it."""
    free = queue_max - len(queue)
    if free <= 0:
        return "queue"
    if ticket.tenant and share:
        of_tenant = sum(other.tenant == ticket.tenant for other in queue)
        if of_tenant >= share:
            return "tenant"
        free = min(free, share - of_tenant)
    own = sum(same_user(other, ticket) for other in queue)
    return "user" if own and own >= free else None
