"""The in-memory gate's decisions against a plain list, and what they come to in the long run."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from turns import Rounds, refusal

from wsrunner.errors import QueueFullError
from wsrunner.gates.base import Shares, Ticket
from wsrunner.gates.lanes import Line

steps = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "enter", "leave", "slots", "engine", "share"]),
        st.integers(0, 40),
        st.sampled_from("ab"),
        st.sampled_from(["x", "y", ""]),
        st.sampled_from(["u", "u", "v", "w", ""]),
    ),
    max_size=80,
)
QUEUE_MAX = 6


@settings(max_examples=300)
@given(steps, st.sampled_from([Shares(), Shares(slots=1), Shares(slots=2, queue=3)]))
def test_the_line_decides_as_a_plain_list_does(script, shares):  # noqa: C901  one case a step
    line = Line(2, QUEUE_MAX, {"a": 1}, shares)
    slots, caps, held, queue = 2, {"a": 1, "b": 99}, [], []
    own_shares, rounds = {}, Rounds()

    def share_of(ticket):
        return own_shares.get(ticket.tenant, shares) if ticket.tenant else Shares()

    def fits(ticket):
        share = share_of(ticket).slots
        return (
            len(held) < slots
            and sum(other.engine == ticket.engine for other in held) < caps[ticket.engine]
            and not (0 < share <= sum(other.tenant == ticket.tenant for other in held))
        )

    def expected_grants():
        while ticket := next((ticket for ticket in rounds.sorted(queue) if fits(ticket)), None):
            rounds.serve(ticket, queue)
            queue.remove(ticket)
            held.append(ticket)
            yield ticket

    for number, (step, value, engine, tenant, user) in enumerate(script):
        if step == "enter":
            ticket = Ticket(str(number), tenant, engine, user)
            if fits(ticket):
                held.append(ticket)
                assert line.enter(ticket).fence
            elif refusal(ticket, queue, QUEUE_MAX, share_of(ticket).queue):
                try:
                    line.enter(ticket)
                except QueueFullError:
                    continue
                raise AssertionError("should have been refused")
            else:
                assert not line.enter(ticket).fence
                rounds.enter(ticket, held, queue)
                queue.append(ticket)
        elif step == "leave" and held + queue:
            ticket = (held + queue)[value % len(held + queue)]
            if ticket in queue:
                queue.remove(ticket)
                rounds.give_up(ticket, queue)
            else:
                held.remove(ticket)
            assert line.leave(ticket.id, fence=10**9) is None
            assert line.leave(ticket.id)
            assert line.leave(ticket.id) is None
        elif step == "slots":
            line.slots = slots = 1 + value % 4
        elif step == "share" and tenant:
            own_shares[tenant] = Shares(value % 3, value % 4)
            line.share(tenant, own_shares[tenant])
        elif step == "engine":
            line.engine_slots[engine] = caps[engine] = value % 3
        assert [entry.ticket for entry in line.grants()] == list(expected_grants())
        state = line.state()
        assert (state.held, state.waiting) == (len(held), len(queue))


def test_users_with_unequal_demand_get_equal_shares():
    line = Line(8, 10_000, {}, Shares())
    served = Counter()
    tickets = {}
    for user in range(50):
        for number in range(20 + 3 * user):
            ticket = tickets[f"{user}-{number}"] = Ticket(
                f"{user}-{number}", "", "local", str(user)
            )
            line.enter(ticket)
    dice = random.Random(1)
    running = [name for name in tickets if line._entries[name].fence]
    while sum(served.values()) < 50 * 15:
        line.leave(running.pop(dice.randrange(len(running))))
        for entry in line.grants():
            served[entry.ticket.user] += 1
            running.append(entry.ticket.id)
    assert jains_index(served, 50) >= 0.99


def jains_index(served, users):
    total, squares = sum(served.values()), sum(count**2 for count in served.values())
    return total**2 / (users * squares)


def test_who_comes_again_and_again_starves_nobody():
    """A second run waits for one turn of all others, though there is always a first run waiting."""
    line = Line(2, 100, {}, Shares())
    line.enter(Ticket("long", user="patient"))
    running = "quick-0"
    for number in range(5):
        line.enter(Ticket(f"quick-{number}", user=f"quick-{number}"))
    line.enter(Ticket("second", user="patient"))
    for turn in range(20):
        line.leave(running)
        (entry,) = line.grants()
        if entry.ticket.id == "second":
            break
        line.enter(Ticket(f"again-{turn}", user=running.partition(" ")[0]))
        running = entry.ticket.id
    else:
        raise AssertionError("the second run never came")
    assert turn <= 10
