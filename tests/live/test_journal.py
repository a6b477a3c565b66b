"""Journals, cursors and lanes: what is kept, what is missed, what is taken twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrunner.errors import BadMessageError, KeptFullError
from wsrunner.live.journal import ENTRY_COST_BYTES, Cursor, Entry, Gap, Journal
from wsrunner.live.lanes import LANES_MAX, Lanes
from wsrunner.runs.events import Output, Started


def fill(journal, sizes):
    for size in sizes:
        seq = journal.last + 1
        journal.append(seq, Output(seq, 1, b"x" * size))


def test_a_cursor_hears_everything_that_is_there_in_order():
    journal = Journal(10_000)
    journal.append(1, Started(1, "run"))
    cursor = Cursor(journal, 0)
    fill(journal, [10, 20])
    assert [item.seq for item in cursor.take(1)] == [1]
    assert [item.seq for item in cursor.take(10_000)] == [2, 3]
    assert cursor.take(10_000) == []
    fill(journal, [5])
    assert cursor.behind_bytes == ENTRY_COST_BYTES + 5
    (entry,) = cursor.take(10_000)
    assert (entry.seq, entry.before_bytes) == (4, 30)


def test_what_is_gone_is_one_gap_that_says_how_much():
    journal = Journal(2 * (ENTRY_COST_BYTES + 100))
    early, late = Cursor(journal, 0), Cursor(journal, 1)
    fill(journal, [100] * 10)
    gap, *entries = early.take(10_000)
    assert gap == Gap(next=9, before_bytes=800, missed_bytes=800)
    assert [entry.seq for entry in entries] == [9, 10]
    # What it had of the run before is not known.
    assert late.take(10_000)[0] == Gap(next=9, before_bytes=800, missed_bytes=None)
    fill(journal, [100] * 5)
    assert late.take(10_000)[0] == Gap(next=14, before_bytes=1300, missed_bytes=300)


def test_what_somebody_is_waited_for_stays():
    journal = Journal(1000)
    for seq in range(1, 11):
        journal.append(seq, Output(seq, 1, b"x" * 500), keep_after=3)
    assert (journal.first, journal.last) == (4, 10)
    journal.append(11, Output(11, 1, b""))
    assert journal.first > 9


@given(
    st.integers(300, 5000),
    st.lists(st.integers(0, 600), max_size=80),
    st.lists(st.integers(0, 80), max_size=20),
)
def test_it_never_holds_more_and_no_cursor_loses_a_byte_unawares(max_bytes, sizes, stops):
    journal = Journal(max_bytes)
    cursor = Cursor(journal, 0)
    heard = missed = 0
    for at, size in enumerate(sizes):
        fill(journal, [size])
        assert journal.held_bytes <= max(max_bytes, ENTRY_COST_BYTES + size)
        if at in stops or at == len(sizes) - 1:
            while items := cursor.take(700):
                for item in items:
                    if isinstance(item, Entry):
                        heard += item.output_bytes
                    else:
                        missed += item.missed_bytes
                        assert item.before_bytes == heard + missed
    assert heard + missed == sum(sizes) == journal.output_bytes


def test_bytes_that_come_again_are_taken_once_and_missing_ones_are_asked_for():
    lanes = Lanes()
    lane = lanes.lane("a")
    lanes.took(lane, len(lane.fresh(b"hello", 0)))
    assert lane.fresh(b"hello", 0) == b""
    assert lane.fresh(b"lo there", 3) == b" there"
    assert lane.fresh(b"!", None) == b"!"
    with pytest.raises(BadMessageError, match="at byte 6, but only 5 bytes have come"):
        lane.fresh(b"x", 6)


def test_what_the_program_took_counts_for_whom_it_came_from():
    lanes = Lanes()
    one, two = lanes.lane("one"), lanes.lane("two")
    for lane, size in ((one, 10), (two, 20), (one, 30)):
        lanes.took(lane, size)
    lanes.drained(15)
    assert (one.drained_bytes, two.drained_bytes) == (10, 5)
    lanes.drained(60)
    assert (one.drained_bytes, two.drained_bytes) == (40, 20)


def test_lanes_are_bounded():
    lanes = Lanes()
    for number in range(LANES_MAX):
        lanes.lane(str(number))
    lanes.lane("0")
    with pytest.raises(KeptFullError, match=f"the limit is {LANES_MAX}"):
        lanes.lane("one more")
