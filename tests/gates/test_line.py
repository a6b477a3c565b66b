"""The in-memory gate's decisions against a plain list."""

from hypothesis import given, settings
from hypothesis import strategies as st

from wsrunner.errors import QueueFullError
from wsrunner.gates.base import Shares, Ticket
from wsrunner.gates.lanes import Line

steps = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "leave", "slots", "engine"]),
        st.integers(0, 40),
        st.sampled_from("ab"),
        st.sampled_from(["x", "y", ""]),
    ),
    max_size=80,
)


@settings(max_examples=300)
@given(steps, st.sampled_from([Shares(), Shares(slots=1), Shares(slots=2, queue=3)]))
def test_the_line_decides_as_a_plain_list_does(script, shares):  # noqa: C901  one case a step
    line = Line(2, 6, {"a": 1}, shares)
    slots, caps, held, queue = 2, {"a": 1, "b": 99}, [], []

    def fits(ticket):
        return (
            len(held) < slots
            and sum(other.engine == ticket.engine for other in held) < caps[ticket.engine]
            and not (
                ticket.tenant
                and 0 < shares.slots <= sum(other.tenant == ticket.tenant for other in held)
            )
        )

    def expected_grants():
        while ticket := next((ticket for ticket in queue if fits(ticket)), None):
            queue.remove(ticket)
            held.append(ticket)
            yield ticket

    for number, (step, value, engine, tenant) in enumerate(script):
        if step == "enter":
            ticket = Ticket(str(number), tenant, engine)
            if fits(ticket):
                held.append(ticket)
                assert line.enter(ticket).fence
            elif len(queue) >= 6 or (
                tenant and 0 < shares.queue <= sum(other.tenant == tenant for other in queue)
            ):
                try:
                    line.enter(ticket)
                except QueueFullError:
                    continue
                raise AssertionError("should have been refused")
            else:
                entry = line.enter(ticket)
                assert (entry.fence, entry.ahead) == (0, len(queue))
                queue.append(ticket)
        elif step == "leave" and held + queue:
            ticket = (held + queue)[value % len(held + queue)]
            (held if ticket in held else queue).remove(ticket)
            assert line.leave(ticket.id, fence=10**9) is None
            assert line.leave(ticket.id)
            assert line.leave(ticket.id) is None
        elif step == "slots":
            line.slots = slots = 1 + value % 4
        elif step == "engine":
            line.engine_slots[engine] = caps[engine] = value % 3
        assert [entry.ticket for entry in line.grants()] == list(expected_grants())
        state = line.state()
        assert (state.held, state.waiting) == (len(held), len(queue))
