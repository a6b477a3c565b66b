"""What is sent when: whole lines, whole characters, and not too many messages."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsrunner.runs.lines import (
    CHUNK_MAX_BYTES,
    GROWING_S,
    INTERVAL_S,
    PAUSE_S,
    Batcher,
    Chunk,
    split,
    whole_characters,
)

OUT, ERR = 1, 2
LATER = 1000.0


def sent(batcher, now):
    return [(chunk.stream, chunk.data) for chunk in batcher.due(now)]


def test_the_first_line_is_due_at_once():
    batcher = Batcher()
    batcher.feed(OUT, b"one\n", 5.0)
    assert sent(batcher, 5.0) == [(OUT, b"one\n")]
    assert batcher.deadline() is None


def test_lines_that_come_faster_share_a_message():
    batcher = Batcher()
    batcher.feed(OUT, b"one\n", 5.0)
    assert sent(batcher, 5.0)
    batcher.feed(OUT, b"two\n", 5.001)
    batcher.feed(OUT, b"three\n", 5.002)
    assert sent(batcher, 5.002) == []
    assert batcher.deadline() == pytest.approx(5.0 + INTERVAL_S)
    assert sent(batcher, 5.0 + INTERVAL_S) == [(OUT, b"two\nthree\n")]


def test_after_a_quiet_moment_a_line_is_due_at_once_again():
    batcher = Batcher()
    for now in (5.0, 6.0, 7.0):
        batcher.feed(OUT, b"x\n", now)
        assert sent(batcher, now) == [(OUT, b"x\n")]


def test_a_full_chunk_does_not_wait_for_the_interval():
    batcher = Batcher()
    batcher.feed(OUT, b"x\n", 5.0)
    assert sent(batcher, 5.0)
    batcher.feed(OUT, b"y" * (CHUNK_MAX_BYTES - 1) + b"\n", 5.0)
    assert sent(batcher, 5.0) == [(OUT, b"y" * (CHUNK_MAX_BYTES - 1) + b"\n")]


def test_what_is_left_over_of_full_chunks_comes_with_what_follows():
    batcher = Batcher()
    batcher.feed(OUT, (b"y" * 99 + b"\n") * 700, 5.0)
    assert [len(data) for _, data in sent(batcher, 5.0)] == [32700, 32700]
    assert batcher.deadline() == 5.0 + INTERVAL_S
    batcher.feed(OUT, b"more\n", 5.001)
    assert sent(batcher, 5.001) == []
    rest = (b"y" * 99 + b"\n") * 46
    assert sent(batcher, 5.0 + INTERVAL_S) == [(OUT, rest + b"more\n")]


def test_what_is_left_over_does_not_hold_up_a_prompt_behind_it():
    batcher = Batcher()
    batcher.feed(OUT, (b"y" * 99 + b"\n") * 400 + b"name? ", 5.0)
    assert len(sent(batcher, 5.0)) == 1
    batcher.feed(ERR, b"!\n", 5.001)
    rest = (b"y" * 99 + b"\n") * 73
    assert sent(batcher, 5.0 + INTERVAL_S) == [(OUT, rest), (ERR, b"!\n")]
    assert sent(batcher, 5.0 + PAUSE_S + INTERVAL_S) == [(OUT, b"name? ")]


def test_an_unfinished_line_is_shown_after_a_pause():
    batcher = Batcher()
    batcher.feed(OUT, b"name? ", 5.0)
    assert sent(batcher, 5.0) == []
    assert batcher.deadline() == pytest.approx(5.0 + PAUSE_S)
    assert sent(batcher, 5.0 + PAUSE_S) == [(OUT, b"name? ")]
    batcher.feed(OUT, b"Ada\n", 6.0)
    assert sent(batcher, 6.0) == [(OUT, b"Ada\n")]


def test_a_growing_line_waits_until_it_pauses():
    batcher = Batcher()
    for step in range(5):
        batcher.feed(OUT, b".", 5.0 + step * PAUSE_S / 2)
        assert sent(batcher, 5.0 + step * PAUSE_S / 2) == []
    batcher.feed(OUT, b"\n", 5.0 + 2.5 * PAUSE_S)
    assert sent(batcher, 5.0 + 2.5 * PAUSE_S) == [(OUT, b".....\n")]


def test_a_line_that_grows_without_a_pause_is_shown_all_the_same():
    batcher = Batcher()
    times = [5.0 + step * PAUSE_S / 2 for step in range(40)]
    shown = []
    for now in times:
        batcher.feed(OUT, b".", now)
        shown += [(now, len(data)) for _, data in sent(batcher, now)]
    assert len(shown) == int((times[-1] - times[0]) / GROWING_S)
    assert all(dots * PAUSE_S / 2 <= GROWING_S + PAUSE_S for _, dots in shown)


def test_on_a_terminal_nothing_waits_for_a_line_end():
    batcher = Batcher(interactive=True)
    batcher.feed(OUT, b"$ ", 5.0)
    assert sent(batcher, 5.0) == [(OUT, b"$ ")]


def test_streams_are_never_mixed_and_keep_their_order():
    batcher = Batcher()
    for stream, data in [(OUT, b"1\n"), (ERR, b"2\n"), (ERR, b"3\n"), (OUT, b"4\n")]:
        batcher.feed(stream, data, 5.0)
    assert sent(batcher, 5.0) == [(OUT, b"1\n"), (ERR, b"2\n3\n"), (OUT, b"4\n")]


def test_an_unfinished_line_of_one_stream_does_not_hold_up_the_other():
    batcher = Batcher()
    batcher.feed(OUT, b"unfinished", 5.0)
    batcher.feed(ERR, b"line\n", 5.0)
    assert sent(batcher, 5.0) == [(ERR, b"line\n")]


def test_half_a_character_waits_for_its_other_half():
    batcher = Batcher()
    batcher.feed(OUT, b"a\xc3", 5.0)
    assert sent(batcher, 5.0 + PAUSE_S) == [(OUT, b"a")]
    assert sent(batcher, LATER) == []
    assert batcher.deadline() is None
    batcher.feed(OUT, b"\xa9\n", LATER)
    assert sent(batcher, LATER) == [(OUT, "é\n".encode())]


def test_half_a_character_at_the_end_is_not_lost():
    batcher = Batcher()
    batcher.feed(OUT, b"\xf0\x9f", 5.0)
    assert sent(batcher, LATER) == []
    assert batcher.finish() == [Chunk(OUT, b"\xf0\x9f")]


def test_finish_leaves_nothing():
    batcher = Batcher()
    batcher.feed(OUT, b"a\nb", 5.0)
    batcher.feed(ERR, b"c", 5.0)
    assert batcher.finish() == [Chunk(OUT, b"a\nb"), Chunk(ERR, b"c")]
    assert batcher.finish() == []
    assert batcher.deadline() is None


def test_a_long_line_does_not_pile_up():
    batcher = Batcher()
    for _ in range(40):
        batcher.feed(OUT, b"z" * 1000, 5.0)
    assert sum(len(data) for _, data in sent(batcher, 5.0)) >= CHUNK_MAX_BYTES


pieces = st.lists(
    st.tuples(
        st.sampled_from([OUT, ERR]),
        st.one_of(
            st.binary(max_size=20),
            st.text(alphabet="aé€😀\n", max_size=20).map(str.encode),
            st.integers(0, 3 * CHUNK_MAX_BYTES).map(lambda size: b"l" * size),
            st.integers(0, CHUNK_MAX_BYTES).map(lambda size: "é".encode() * size),
        ),
        st.floats(0, 0.05),
    ),
    max_size=30,
)


@given(pieces, st.booleans())
def test_no_byte_is_lost_or_altered_and_each_stream_keeps_its_order(fed, interactive):
    batcher = Batcher(interactive=interactive)
    now = 0.0
    chunks = []
    for stream, data, pause_s in fed:
        now += pause_s
        chunks += batcher.due(now)
        batcher.feed(stream, data, now)
        chunks += batcher.due(now)
    chunks += batcher.finish()
    for stream in (OUT, ERR):
        came = b"".join(data for kind, data, _ in fed if kind == stream)
        assert b"".join(chunk.data for chunk in chunks if chunk.stream == stream) == came
    assert all(0 < len(chunk.data) <= CHUNK_MAX_BYTES for chunk in chunks)


@given(st.text(alphabet="aé€😀\n", max_size=200), st.data())
def test_text_cut_anywhere_arrives_as_text(text, data):
    batcher = Batcher()
    rest, now = text.encode(), 0.0
    chunks = []
    while rest:
        size = data.draw(st.integers(1, 5))
        now += data.draw(st.sampled_from([0.0, INTERVAL_S, PAUSE_S, 1.0]))
        chunks += batcher.due(now)
        batcher.feed(OUT, rest[:size], now)
        rest = rest[size:]
    chunks += batcher.finish()
    assert "".join(chunk.data.decode() for chunk in chunks) == text


@given(pieces)
def test_what_waits_has_a_deadline_at_which_it_is_due(fed):
    batcher = Batcher()
    now = 0.0
    for stream, data, pause_s in fed:
        now += pause_s
        batcher.feed(stream, data, now)
        batcher.due(now)
    # At most two streams to release, and a send before, between and after: each deadline is one.
    for _ in range(5):
        deadline = batcher.deadline()
        if deadline is None:
            break
        now = max(now, deadline)
        chunks = batcher.due(now)
        assert chunks or batcher.deadline() != deadline
    assert batcher.deadline() is None
    assert all(whole_characters(chunk.data) == 0 for chunk in batcher.finish())


@given(st.binary(max_size=5000), st.integers(0, 2 * CHUNK_MAX_BYTES))
def test_split_keeps_all_and_cuts_at_line_ends(data, size):
    data += b"q" * size + data
    parts = split(data)
    assert b"".join(parts) == data
    assert all(len(part) <= CHUNK_MAX_BYTES for part in parts)


def test_split_prefers_line_ends_and_never_cuts_a_character():
    lines = (b"x" * 99 + b"\n") * 1000
    assert all(part.endswith(b"\n") for part in split(lines))
    for part in split(("é" + "€" * 50_000).encode()):
        part.decode()


@pytest.mark.parametrize("text", ["a", "é", "€", "😀", "aé", "x€y😀"])
def test_whole_characters_ends_before_a_character_that_is_cut(text):
    data = text.encode()
    whole = [len(text[:count].encode()) for count in range(len(text) + 1)]
    for size in range(len(data) + 1):
        assert whole_characters(data[:size]) == max(mark for mark in whole if mark <= size)


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"a\x80", b"\x80\x80\x80\x80", b"\xc0", b"\xf8", b"\xc3\xa9\xa9",
     b"\xc1", b"\xe0\x80", b"\xe0\x9f", b"\xf0\x80", b"\xf0\x8f\x80",  # overlong
     b"\xed\xa0", b"\xed\xbf",  # surrogates
     b"\xf4\x90", b"\xf4\xbf\xbf", b"\xf5"],  # beyond U+10FFFF
)  # fmt: skip
def test_bytes_that_no_character_begins_with_count_as_whole(data):
    assert whole_characters(data) == len(data)


@pytest.mark.parametrize(
    "data", [b"\xc2", b"\xe0\xa0", b"\xed\x9f", b"\xee\x80", b"\xf0\x90\x80", b"\xf4\x8f\xbf"]
)
def test_the_outermost_characters_are_held_back_while_unfinished(data):
    assert whole_characters(b"a" + data) == 1


@given(st.binary(max_size=12))
@example(b"\xed\xa0")
@example(b"a\xf4\x90")
@example(b"\xe0\x80")
@example(b"\xf0\x8f\xbf")
def test_whole_characters_holds_back_only_what_may_become_text(data):
    whole = whole_characters(data)
    held = data[whole:]
    assert len(held) <= 3
    if held:
        assert any(_decodes(held + tail) for tail in _tails(len(held)))


def _tails(have):
    for total in (2, 3, 4):
        if total > have:
            for byte in (b"\x80", b"\x90", b"\xa0", b"\xbf"):
                yield byte + b"\x80" * (total - have - 1)


def _decodes(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
