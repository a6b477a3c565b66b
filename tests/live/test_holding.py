"""What a run keeps for those who drive it, and how long it waits for them."""

import asyncio
from types import SimpleNamespace

import pytest

from tests.talk import PATIENCE_S
from wsrunner.errors import KeptFullError
from wsrunner.live.kept import Kept
from wsrunner.live.lanes import LANES_MAX
from wsrunner.live.show import Record
from wsrunner.runs.delivery import Delivery
from wsrunner.runs.events import Exit, File, Output
from wsrunner.settings import Settings

KIB = 1024
PIECE = b"x" * 96 * KIB
PIECES = 100
EXITED = Exit(PIECES + 1, "run", "exited", 0, None, 0, 0, None, None, 0, False)


def a_kept(**settings):
    record = Record("r", "drive", "view", 1.0)
    kept = Kept(record, Settings(**settings), on_news=lambda _: None, on_end=lambda _: None)
    kept.run = SimpleNamespace(delivery=Delivery(kept), end=lambda _: None)
    return kept


async def bring_files(kept):
    """Send what a run sends that has ended; return the most that its journal held."""
    delivery = kept.run.delivery
    most = 0
    for seq in range(1, PIECES + 1):
        file = File(seq, "a.bin", "x/y", PIECES * len(PIECE), (seq - 1) * len(PIECE), PIECE)
        await delivery.send(file)
        most = max(most, kept.journal.held_bytes)
    await delivery.send(EXITED)
    return most


async def test_files_wait_for_a_driver_and_do_not_pile_up_in_the_journal():
    kept = a_kept(journal_kb=1024)
    driver = kept.sit("drive")
    kept.run.delivery.bound(PATIENCE_S)
    bringing = asyncio.create_task(bring_files(kept))
    heard = []
    async with asyncio.timeout(PATIENCE_S):
        while items := await driver.next():
            heard += items
            # Whoever is slow takes a part while much more is there.
            await asyncio.sleep(0)
        most = await bringing
    assert [entry.seq for entry in heard] == list(range(1, PIECES + 2))
    assert most <= 1024 * KIB


@pytest.mark.parametrize("ended", [False, True])
async def test_a_driver_who_takes_nothing_is_given_up_in_time_for_the_exit(ended, monkeypatch):
    # A busy machine may be slow over the rest: it is waited for a second, and nine are left.
    monkeypatch.setattr("wsrunner.live.kept.HOLD_SHARE", 0.1)
    kept = a_kept(journal_kb=1024, slow_client_s=10.0)
    kept.sit("drive")
    if ended:
        kept.run.delivery.bound(10.0)
    async with asyncio.timeout(PATIENCE_S):
        most = await bring_files(kept)
    assert kept.journal.ended
    assert most <= 1024 * KIB


async def test_who_asks_now_and_then_does_not_prolong_the_wait_for_one_who_takes_nothing():
    kept = a_kept(journal_kb=1024, slow_client_s=1.0)
    kept.sit("drive")
    sending = asyncio.create_task(kept.send(Output(1, 1, b"x" * 512 * KIB)))
    async with asyncio.timeout(PATIENCE_S):
        while not sending.done():
            kept.sit("drive").leave()
            await asyncio.sleep(0.01)


async def test_drivers_beyond_the_limit_take_no_seats():
    kept = a_kept()
    for _ in range(LANES_MAX):
        kept.sit("drive").leave()
    with pytest.raises(KeptFullError, match=f"the limit is {LANES_MAX}"):
        kept.sit("drive")
    assert not kept.seats
