"""What one replica shares of its kept runs, before a Redis that only says yes or no."""

import asyncio
from types import SimpleNamespace

import pytest

from tests.gates.servers import RedisServer
from tests.talk import PATIENCE_S
from wsrunner.errors import (
    GateUnavailableError,
    KeptFullError,
    QueueFullError,
    TooLargeError,
    UnknownLanguageError,
)
from wsrunner.gates.replica import unavailable
from wsrunner.live import exchange as module
from wsrunner.live.exchange import Exchange
from wsrunner.live.followed import Followed
from wsrunner.live.kept import Kept
from wsrunner.live.letters import Letter, Publication, error_letter, pack_lost
from wsrunner.live.show import Record
from wsrunner.live.store import Store
from wsrunner.live.visitors import Visitors
from wsrunner.runs.events import Output, Refused
from wsrunner.settings import Settings
from wsrunner.units import MIB


class StubStore:
    """Answers as a Redis would that has, or has not, the records of runs."""

    def __init__(self, begun="", takes=True):
        self.begun = begun
        self.takes = takes
        self.claimed = {}
        self.last = {}
        self.writes = []
        self.wrote = asyncio.Event()

    async def claim(self, record, life_s):
        if record.once and self.begun:
            return self.begun
        self.claimed[record.run_id] = record
        return ""

    async def write(self, publications, letters, letters_life_s):
        self.writes.append(publications)
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
        pass

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
        assert not exchange._published
        assert not exchange._place


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
    monkeypatch.setattr(module, "WRITE_BYTES", 1000)
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
    monkeypatch.setattr(module, "OUTBOX_MAX_BYTES", 1000)
    exchange = an_exchange(StubStore(), {})
    signal = Letter("signal", "r", "s", text="SIGINT")
    while exchange._outbox_bytes <= 1000:
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
    assert letters[-1].number == 10 * MIB + 9 * len(piece)


async def test_stdin_of_one_lane_over_two_connections_is_all_taken():
    got = []
    kept = a_kept({})
    kept.run = SimpleNamespace(input=SimpleNamespace(stdin=got.append), end=lambda _: None)
    visitors = Visitors(lambda _: kept, lambda _, letter: show.hear(letter))
    show = Followed(
        kept.record, *(1000, 10), replica="me", write=visitors.take, on_empty=lambda _: None
    )
    drivers = [show.sit("drive", name="http") for _ in range(2)]
    for driver in drivers:
        driver.shares = True
        await show.join(driver, PATIENCE_S)
    # Both have joined before the other's stdin came.
    drivers[0].stdin(b"one\n", None)
    drivers[1].stdin(b"two\n", None)
    drivers[0].stdin(b"two\nthree\n", 4)
    assert got == [b"one\n", b"two\n", b"three\n"]
    for driver in drivers:
        driver.leave()


async def test_who_may_not_drive_a_run_of_another_server_hears_why():
    show = Followed(
        Record("r", "drive", "view", 1.0),
        *(1000, 10),
        replica="me",
        write=lambda _: None,
        on_empty=lambda _: None,
    )
    driver = show.sit("drive")
    joining = asyncio.create_task(show.join(driver, PATIENCE_S))
    await settle()
    show.hear(error_letter("r", driver.id, KeptFullError("the limit is 256")))
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
