"""Positions against a plain count, and what a long queue costs."""

from hypothesis import given
from hypothesis import strategies as st

from wsrunner.gates.positions import NEAR, Positions


@given(st.data())
def test_positions_agree_with_a_plain_count(data):
    positions = Positions()
    queue, local, told = [], {}, {}
    seq = 0
    for step in data.draw(st.lists(st.sampled_from("eErrrt"), max_size=120)):
        if step in "eE":  # E: somebody else's waiter enters
            seq += 1
            queue.append(seq)
            if step == "e":
                told[seq] = positions.enter(f"k{seq}", seq, len(queue) - 1)
                local[f"k{seq}"] = seq
                assert told[seq] == len(queue)
        elif step == "r" and queue:
            gone = queue.pop(data.draw(st.integers(0, len(queue) - 1)))
            if local.pop(f"k{gone}", None):
                positions.leave(f"k{gone}")
            positions.note(gone)
        elif step == "t":
            for key, position in positions.due():
                assert position == queue.index(local[key]) + 1
                assert position < told[local[key]]
                told[local[key]] = position
    for _ in range(2):
        for key, position in positions.due():
            told[local[key]] = position
    assert {s: queue.index(s) + 1 for s in local.values()} == {s: told[s] for s in local.values()}


def test_compacting_keeps_the_count():
    positions = Positions()
    for seq in range(1000):
        positions.enter(seq, seq, seq)
    for seq in range(0, 1000, 2):
        positions.leave(seq)
        positions.note(seq)
    for seq in range(1, 901, 2):
        positions.leave(seq)
        positions.note(seq)
    assert len(positions._marks) <= 2 * len(positions) + NEAR
    assert dict(positions.due()) == {seq: rank + 1 for rank, seq in enumerate(range(901, 1000, 2))}
    assert positions.enter(1000, 1000, 50) == 51


def test_a_position_told_before_is_never_exceeded():
    positions = Positions()
    assert positions.enter("back", 9, 40, told=3) == 3
    assert list(positions.due()) == []


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
