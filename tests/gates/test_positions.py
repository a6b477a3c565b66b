"""Positions against a plain count, and what a long queue costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsrunner.gates.positions
from wsrunner.gates.positions import Positions


@pytest.mark.parametrize("block", [2, 512])
@given(data=st.data())
def test_positions_agree_with_a_plain_count(block, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wsrunner.gates.positions, "BLOCK", block)
        check_against_a_plain_count(data)


def check_against_a_plain_count(data):  # noqa: C901  one case a step
    positions = Positions()
    queue, local, told = [], {}, {}
    steps = st.lists(st.sampled_from("eeiIErrt"), max_size=120)
    for place, step in enumerate(data.draw(steps), 1):
        if step in "eEiI":  # in capitals: somebody else's waiter; i: not at the end
            before = data.draw(st.integers(0, len(queue))) if step in "iI" else len(queue)
            # Places that leave room for others between any two.
            after = queue[before] if before < len(queue) else (place + 1) << 200
            here = ((queue[before - 1] if before else 0) + after) // 2
            assert positions.rank(here) == sum(other < here for other in local.values())
            queue.insert(before, here)
            if before < len(queue) - 1:
                positions.note(here, -1)
            if step in "ei":
                told[here] = positions.enter(f"k{here}", here, before)
                local[f"k{here}"] = here
                assert told[here] == before + 1
        elif step == "r" and queue:
            gone = queue.pop(data.draw(st.integers(0, len(queue) - 1)))
            if local.pop(f"k{gone}", None):
                positions.leave(f"k{gone}")
            positions.note(gone)
        elif step == "t":
            for key, position in positions.due():
                assert position == queue.index(local[key]) + 1
                assert position != told[local[key]]
                told[local[key]] = position
    for _ in range(2):
        for key, position in positions.due():
            told[local[key]] = position
    assert {s: queue.index(s) + 1 for s in local.values()} == {s: told[s] for s in local.values()}
    assert len(positions) == len(local)


def test_who_is_put_before_others_moves_them_back():
    positions = Positions()
    for place in (10, 20, 30):
        positions.enter(place, place, place // 10 - 1)
    positions.note(15, -1)
    assert positions.enter("new", 15, 1) == 2
    assert list(positions.due()) == [(20, 3), (30, 4)]


def test_a_position_told_before_is_never_exceeded():
    positions = Positions()
    assert positions.enter("back", 9, 40, told=3) == 3
    assert list(positions.due()) == []
    for _ in range(39):
        positions.note(1)
    assert list(positions.due()) == [("back", 2)]
    positions.note(1, -1)
    assert list(positions.due()) == [("back", 3)]


def test_far_back_hears_less_often_and_costs_little():
    positions = Positions()
    waiters = 10_000
    for seq in range(waiters):
        positions.enter(seq, seq, seq)
    heard = dict.fromkeys(range(waiters), 0)
    for seq in range(2000):  # one grant per update
        positions.leave(seq)
        positions.note(seq)
        for key, _ in positions.due():
            heard[key] += 1
    assert heard[1999] > 60
    assert heard[9999] <= 3
    assert sum(heard.values()) < 2000 * 150
