"""What one replica shares of its kept runs, before a Redis that only says yes or no."""

import asyncio
from types import SimpleNamespace

import pytest

from tests.gates.servers import RedisServer
from tests.talk import PATIENCE_S
from wsrunner.errors import (
    BadMessageError,
    GateUnavailableError,
    KeptFullError,
    NoSuchRunError,
    QueueFullError,
    TooLargeError,
    UnknownLanguageError,
)
from wsrunner.gates import outbox
from wsrunner.gates.outbox import WRITE_BYTES, WRITE_LETTERS
from wsrunner.gates.replica import unavailable
from wsrunner.live import exchange as module
from wsrunner.live import news
from wsrunner.live.exchange import Exchange
from wsrunner.live.followed import Followed
from wsrunner.live.kept import Kept
from wsrunner.live.letters import Letter, Publication, error_letter, pack_lost, unpack_letter
from wsrunner.live.show import Record
from wsrunner.live.store import READ_MAX, Store
from wsrunner.live.visitors import Visitors
from wsrunner.runs.events import Output, Refused
from wsrunner.settings import Settings
from wsrunner.units import KIB, MIB


class StubStore:
    """Answers as a Redis would that has, or has not, the records of runs."""

    def __init__(self, begun="", takes=True):
        self.begun = begun
        self.takes = takes
        self.claimed = {}
        self.last = {}
        self.writes = []
        self.letters = []
        self.wrote = asyncio.Event()
        self.parted = False

    async def claim(self, record, life_s):
        if record.once and self.begun:
            return self.begun
        self.claimed[record.run_id] = record
        return ""

    async def write(self, publications, letters, letters_life_s):
        self.writes.append(publications)
        self.letters.append([unpack_letter(content) for _, content in letters])
        self.wrote.set()
        return [self._answer(each) for each in publications]

    def _answer(self, each):
        run_id = each.record.run_id
        if run_id not in self.claimed:
            return "absent"
        if self.takes and each.events:
            self.last[run_id] = each.events[-1][0]
        return self.last.get(run_id, "0-0")

    async def read(self, *_):
        await asyncio.Event().wait()

    async def beat(self, *_):
        await asyncio.Event().wait()

    async def part(self, replica):
        self.parted = True

    async def close(self):
        pass

    async def until(self, met):
        async with asyncio.timeout(PATIENCE_S):
            while not met():
                self.wrote.clear()
                await self.wrote.wait()


def a_kept(runs, run_id="r", once="o" * 16):
    record = Record(run_id, "drive", "view", 1.0, owner="me", once=once)
    kept = Kept(record, Settings(), on_news=lambda _: None, on_end=lambda _: None)
    runs[run_id] = kept
    return kept


def an_exchange(store, runs):
    return Exchange(store, Settings(), find=runs.get, mine=lambda: list(runs.values()))


async def settle():
    """Let everything that is due be done."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_of_a_refused_run_nothing_stays():
    runs, store = {}, StubStore()
    async with an_exchange(store, runs) as exchange:
        kept = a_kept(runs)
        await exchange.claim(kept.record)
        kept.add(1, Refused(UnknownLanguageError("nonsense")))
        exchange.publish(kept)
        # As the house does, at once.
        del runs["r"]
        exchange.forget(kept)
        await store.until(lambda: store.last)
        await settle()
        assert not exchange._news.knows(kept)


async def test_a_run_whose_request_began_another_while_redis_had_lost_it_keeps_its_keys():
    runs, store = {}, StubStore(begun="another")
    async with an_exchange(store, runs) as exchange:
        kept = a_kept(runs)
        kept.add(1, Output(1, 1, b"x"))
        exchange.publish(kept)
        await store.until(lambda: store.last)
        assert store.claimed["r"].once == ""
        await settle()
        assert len(store.writes) == 2


async def test_letters_that_waited_for_redis_go_out_in_pieces_that_it_takes_in_time():
    runs, store = {}, StubStore()
    exchange = an_exchange(store, runs)
    count = 2 * WRITE_LETTERS + 50
    for number in range(count):
        data = bytes(64 * KIB) if number >= 2 * WRITE_LETTERS else b"x"
        exchange._write("other", Letter("stdin", number=number, data=data))
    kept = a_kept(runs)
    await exchange.claim(kept.record)
    kept.add(1, Output(1, 1, b"x"))
    exchange.publish(kept)
    async with exchange:
        await store.until(lambda: store.last)
    assert [each.number for letters in store.letters for each in letters] == list(range(count))
    for letters in store.letters:
        assert len(letters) <= WRITE_LETTERS
        assert sum(len(each.data) for each in letters) < WRITE_BYTES + 128 * KIB


async def test_a_redis_that_takes_nothing_is_not_asked_again_at_once():
    runs, store = {}, StubStore(takes=False)
    async with an_exchange(store, runs) as exchange:
        kept = a_kept(runs)
        await exchange.claim(kept.record)
        kept.add(1, Output(1, 1, b"x"))
        exchange.publish(kept)
        await store.until(lambda: store.writes)
        await settle()
        assert len(store.writes) == 1
        store.takes = True
        await store.until(lambda: store.last)


async def test_what_many_runs_have_to_tell_goes_in_several_writes(monkeypatch):
    monkeypatch.setattr(news, "WRITE_BYTES", 1000)
    runs, store = {}, StubStore()
    async with an_exchange(store, runs) as exchange:
        for number in range(10):
            kept = a_kept(runs, f"r{number}", once="")
            await exchange.claim(kept.record)
            kept.add(1, Output(1, 1, b"x" * 600))
            exchange.publish(kept)
        await store.until(lambda: len(store.last) == len(runs))
        assert [len(each) for each in store.writes] == [2] * 5


async def test_what_clients_send_is_bounded_while_redis_is_away(monkeypatch):
    monkeypatch.setattr(outbox, "OUTBOX_MAX_BYTES", 1000)
    exchange = an_exchange(StubStore(), {})
    signal = Letter("signal", "r", "s", text="SIGINT")
    while exchange._outbox.bytes <= 1000:
        exchange._write_bounded("other", signal)
    with pytest.raises(QueueFullError, match="the limit is 1000 bytes"):
        exchange._write_bounded("other", signal)
    exchange._write_bounded("other", Letter("leave", "r", "s"))


async def test_who_sends_stdin_faster_than_the_run_takes_it_fills_no_redis():
    letters = []
    record = Record("r", "drive", "view", 1.0)
    show = Followed(record, 1000, 10, replica="me", write=letters.append, on_empty=lambda _: None)
    driver = show.sit("drive")
    show.hear(Letter("joined", "r", driver.id, number=10 * MIB))
    piece = b"x" * 128 * 1024
    for _ in range(9):
        driver.stdin(piece, None)
    sent = len(letters)
    with pytest.raises(TooLargeError, match="the limit is 1179648 bytes"):
        driver.stdin(piece, None)
    assert len(letters) == sent
    show.hear(Letter("drained", "r", driver.id, number=10 * MIB + len(piece)))
    driver.stdin(piece, None)
    assert len(letters) == sent + 1
    # What the run refuses is not on its way any more.
    show.hear(error_letter(letters[-1], TooLargeError("too much")))
    driver.stdin(piece, None)


def followed():
    """Return a run of another replica, which hears nothing of what is written to it."""
    return Followed(
        Record("r", "drive", "view", 1.0),
        *(1000, 10),
        replica="me",
        write=lambda _: None,
        on_empty=lambda _: None,
    )


class Inputs:
    """A run of one replica that takes 1 MiB of stdin, and a `Followed` of it on another."""

    def __init__(self):
        self.got = []
        self.letters = []
        self.kept = a_kept({})
        self.kept.run = SimpleNamespace(input=self, end=lambda _: None)
        self.visitors = Visitors(lambda _: self.kept, self.answer)
        self.show = Followed(
            self.kept.record, *(1000, 10), replica="me", write=self.write, on_empty=lambda _: None
        )

    def write(self, letter):
        self.letters.append(letter)
        self.visitors.take(letter)

    def answer(self, _, letter):
        # Never at once, as from elsewhere.
        asyncio.get_running_loop().call_soon(self.show.hear, letter)

    async def driver(self, name=""):
        seat = self.show.sit("drive", name=name)
        await self.show.join(seat, PATIENCE_S)
        return seat

    # As `runs.input.Input` does.

    def stdin(self, data):
        if sum(len(each) for each in self.got if isinstance(each, bytes)) + len(data) > MIB:
            raise TooLargeError("the limit is 1048576 bytes")
        self.got.append(data)

    def eof(self):
        self.got.append("eof")

    def signal(self, name):
        self.got.append(name)


async def test_letters_that_are_sent_again_are_not_carried_out_again():
    inputs = Inputs()
    driver = await inputs.driver()
    driver.stdin(b"one\n", None)
    driver.signal("SIGINT")
    inputs.show.report()
    driver.eof()
    for letter in list(inputs.letters):
        inputs.visitors.take(letter)
    assert inputs.got == [b"one\n", "SIGINT", "eof"]
    driver.leave()


@pytest.mark.parametrize("find_out", ["signal", "here"])
async def test_who_has_sent_what_got_lost_has_to_come_anew(find_out):
    inputs = Inputs()
    driver = await inputs.driver()
    inputs.show._write = lambda _: None  # a Redis that loses it
    driver.signal("SIGINT")
    inputs.show._write = inputs.write
    if find_out == "signal":
        driver.signal("SIGTERM")
    else:
        inputs.show.report()
    with pytest.raises(GateUnavailableError):
        await driver.next()
    assert inputs.got == []


async def test_stdin_that_was_refused_is_not_counted_nor_in_the_way_of_what_comes_next():
    inputs = Inputs()
    driver = await inputs.driver()
    driver.stdin(b"x" * (MIB - 2), None)
    driver.stdin(b"refused", None)
    driver.stdin(b"ok", None)
    assert [type(each) for each in await driver.next()] == [TooLargeError]
    assert inputs.got[1:] == [b"ok"]
    assert inputs.show._sent_bytes[driver.id] == MIB
    driver.leave()


async def test_a_driver_of_another_server_hears_when_its_run_has_judged():
    inputs = Inputs()
    driver = await inputs.driver()
    driver.stdin(b"one\n", 0)
    await driver.judged(PATIENCE_S)
    driver.stdin(b"three\n", 9)
    with pytest.raises(BadMessageError, match="only 4 bytes have come"):
        await driver.judged(PATIENCE_S)
    driver.leave()


async def test_who_waits_for_judgement_of_a_run_that_ends_hears_of_that():
    show = followed()
    judging = asyncio.create_task(show.sit("drive").judged(PATIENCE_S))
    await settle()
    show.take("1-0", pack_lost())
    with pytest.raises(NoSuchRunError, match="run r has ended"):
        await judging


async def test_a_server_that_stops_waits_for_the_write_that_is_under_way():
    runs, store = {}, StubStore()
    go_on, write = asyncio.Event(), store.write

    async def slowly(*arguments):
        answer = await write(*arguments)
        await go_on.wait()
        assert not store.parted
        return answer

    store.write = slowly
    async with asyncio.timeout(PATIENCE_S), an_exchange(store, runs) as exchange:
        kept = a_kept(runs)
        await exchange.claim(kept.record)
        kept.add(1, Output(1, 1, b"x"))
        exchange.publish(kept)
        await store.until(lambda: store.writes)
        asyncio.get_running_loop().call_soon(go_on.set)
    assert exchange._news.knows(kept)
    assert store.parted


async def test_what_was_begun_in_vain_is_bounded_while_redis_is_away(monkeypatch):
    monkeypatch.setattr(module, "DISOWNED_MAX", 3)
    store, asked = StubStore(), []

    async def away(record, life_s):
        asked.append(record)
        raise unavailable("no reply in 2 s")

    store.claim = away
    exchange = an_exchange(store, {})
    for number in range(5):
        with pytest.raises(GateUnavailableError):
            await exchange.claim(Record(f"r{number}", "drive", "view", 1.0))
    assert len(asked) == len(exchange._disowned) == 3


async def test_one_read_brings_so_much_however_many_runs_are_followed(redis_binary, tmp_path):
    with RedisServer(redis_binary, tmp_path) as redis:
        store = Store(redis.tcp_url)
        events = [(f"{number}-0", "e", b"x") for number in range(1, 101)]
        for number in range(20):
            record = Record(f"r{number}", "drive", "view", 1.0)
            await store.claim(record, 60)
            await store.write([Publication(record, 60, 0, False, events)], [], 60)
        _, found = await store.read("me", "0-0", {f"r{number}": "0-0" for number in range(20)})
        assert len(found) == 20
        assert sum(map(len, found.values())) <= READ_MAX
        await store.close()


async def test_stdin_of_one_lane_over_two_connections_is_all_taken():
    inputs = Inputs()
    got = inputs.got
    drivers = [inputs.show.sit("drive", name="http") for _ in range(2)]
    for driver in drivers:
        await inputs.show.join(driver, PATIENCE_S)
    # Both have joined before the other's stdin came.
    drivers[0].stdin(b"one\n", None)
    drivers[1].stdin(b"two\n", None)
    drivers[0].stdin(b"two\nthree\n", 4)
    assert got == [b"one\n", b"two\n", b"three\n"]
    for driver in drivers:
        driver.leave()


async def test_who_may_not_drive_a_run_of_another_server_hears_why():
    show = followed()
    driver = show.sit("drive")
    joining = asyncio.create_task(show.join(driver, PATIENCE_S))
    await settle()
    show.hear(error_letter(Letter("join", "r", driver.id), KeptFullError("the limit is 256")))
    show.hear(Letter("gone", "r", driver.id))
    with pytest.raises(KeptFullError, match="the limit is 256"):
        await joining


async def test_a_request_whose_first_answer_was_lost_may_be_made_again(redis_binary, tmp_path):
    with RedisServer(redis_binary, tmp_path) as redis:
        store = Store(redis.tcp_url)
        claim = store.claim

        async def claimed_late(*arguments):
            await claim(*arguments)
            raise unavailable("no reply in 2 s")

        exchange = an_exchange(store, {})
        store.claim = claimed_late
        with pytest.raises(GateUnavailableError):
            await exchange.claim(Record("first", "drive", "view", 1.0, once="o" * 16))
        store.claim = claim
        assert await exchange.claim(Record("second", "drive", "view", 1.0, once="o" * 16)) == ""
        assert await store.find("first") is None
        assert await store.find("second") is not None
        await store.close()


async def test_nothing_in_redis_stays_for_ever(redis_binary, tmp_path):
    with RedisServer(redis_binary, tmp_path) as redis:
        store = Store(redis.tcp_url)
        record = Record("r", "drive", "view", 1.0, owner="gone")
        await store.claim(record, 60)
        await store.lose("r", pack_lost())
        await store.write([Publication(record, 60, 0, False, [])], [("gone", b"x")], 60)
        keys = [key async for key in store._redis.scan_iter()]
        assert len(keys) == 3
        assert [await store._redis.pttl(key) > 0 for key in keys] == [True] * 3
        await store.close()
