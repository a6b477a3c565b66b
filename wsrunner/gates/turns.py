"""In which round a waiter's turn comes, so that users take turns: fair queueing in one lane.

Pure state. A lane is served in rounds, and each user has one ticket in a round. A ticket's round is
decided when it enters and stays: the current one, or the next one if the user holds a permit, or
the one after the user's last ticket, queued or served. Within a round the tickets are in the order
in which they came. So who has nothing in the gate comes before every second ticket of anybody else,
and each user's own tickets stay in order.

Who has nothing may join a round while it is served, but not for ever: ever new users would keep
those waiting who had a turn in it. A round closes when as many tickets have been granted in it as
it had at its beginning, and one more. (The scripts do the same in Redis.)
"""

from __future__ import annotations

from collections import Counter

SPARE = 64
"""Users that are remembered beyond twice those who wait, before those of past rounds are forgotten:
then that costs nothing in the mean."""


class Turns:
    """The rounds of one lane, while somebody waits in it.

    Args:
        current: The round in which it begins.
    """

    __slots__ = ("_current", "_last", "_members", "_open")

    def __init__(self, current: int) -> None:
        self._current = current
        self._open: int | None = None  # grants until it closes; None before the first
        self._members: Counter[int] = Counter()
        self._last: dict[str, int] = {}

    def enter(self, user: str, *, holds: bool) -> int:
        """Return the round of a user's new ticket; the current one, if it is nobody's.

        Args:
            user: Whose it is.
            holds: Whether the user holds a permit.
        """
        turn = self._current
        if user:
            turn = max(turn + holds, self._last.get(user, turn - 1) + 1)
            self._last[user] = turn
        self._members[turn] += 1
        return turn

    def served(self, turn: int) -> None:
        """Note that a ticket of this round is granted."""
        self._remove(turn)
        if turn > self._current or self._open is None:
            self._begin(max(turn, self._current))
        elif turn == self._current:
            self._open -= 1
            if not self._open:
                self._begin(turn + 1)
        if len(self._last) > 2 * self._members.total() + SPARE:
            self._last = {u: last for u, last in self._last.items() if last >= self._current}

    def given_up(self, turn: int, user: str, *, was_last: bool) -> None:
        """Note that a ticket of this round left without a grant.

        Args:
            turn: Its round.
            user: Whose it was.
            was_last: Whether the user has no other in the queue. Then the user has had the turn in
                the current round, but not those in later ones.
        """
        self._remove(turn)
        if was_last and user in self._last:
            self._last[user] = min(self._last[user], self._current)

    def _begin(self, turn: int) -> None:
        self._current = turn
        self._open = self._members[turn] + 1

    def _remove(self, turn: int) -> None:
        self._members[turn] -= 1
        if not self._members[turn]:
            del self._members[turn]
