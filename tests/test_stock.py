"""What the stock decides: pure, with a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from wsrunner.engines.base import Ahead, Box
from wsrunner.runs.stock import DEMAND_WINDOW_S, MAX_AGE_S, Decision, Spare, Stock

PYTHON = Box(image="python", tty=False, memory_bytes=1, pids=1, cpus=1, disk_bytes=1)
RUBY = replace(PYTHON, image="ruby")
LUA = replace(PYTHON, image="lua")
IMAGES = {"python": "id-p", "ruby": "id-r", "lua": "id-l"}


@dataclass(eq=False)
class FakeContainer:
    alive: bool = True


def add(stock: Stock, box: Box, now_s: float, took_s: float = 0.1) -> FakeContainer:
    container = FakeContainer()
    stock.add(box, Spare(container, IMAGES[box.image], now_s), took_s)
    return container


def fill(stock: Stock, now_s: float, images=IMAGES) -> list[Box]:
    """Start all that the stock asks for; return it in order."""
    started = []
    while (decision := stock.decide(now_s, images)).start is not None:
        started.append(decision.start)
        add(stock, decision.start, now_s)
    return started


def test_keeps_the_floor_without_any_demand():
    stock = Stock(most=10)
    stock.floors = {PYTHON: 2}
    assert fill(stock, 0.0) == [PYTHON, PYTHON]
    assert stock.decide(DEMAND_WINDOW_S * 20, IMAGES).start is None


def test_nothing_is_started_whose_image_is_missing():
    stock = Stock(most=10)
    stock.floors = {PYTHON: 1}
    assert stock.decide(0.0, {}) == Decision([], None)


def test_a_kind_that_was_asked_for_gets_some_and_loses_them_when_demand_fades():
    stock = Stock(most=10)
    assert stock.take(RUBY, 0.0) is None
    assert fill(stock, 1.0) == []
    assert stock.take(RUBY, 2.0) is None
    assert fill(stock, 3.0) == [RUBY, RUBY, RUBY]
    later = stock.decide(DEMAND_WINDOW_S * 10, IMAGES)
    assert len(later.drop) == 3
    assert stock.sizes() == {}


def test_busy_kinds_get_what_arrives_while_ten_start_and_more():
    stock = Stock(most=100)
    for i in range(1200):
        stock.take(PYTHON, i * 0.05)
    assert 20 < stock.wanted(60.0)[PYTHON] <= 30


def test_demand_that_rises_is_met_within_seconds_and_forgotten_slowly():
    stock = Stock(most=100)
    for i in range(60):
        stock.take(PYTHON, i * 0.05)
    risen = stock.wanted(3.0)[PYTHON]
    assert risen > 10
    assert stock.wanted(13.0)[PYTHON] > 0.8 * risen


def test_a_low_stock_is_refilled_without_pauses():
    stock = Stock(most=100)
    stock.floors = {PYTHON: 4}
    hurries = []
    while (decision := stock.decide(0.0, IMAGES)).start:
        hurries.append(decision.hurry)
        add(stock, PYTHON, 0.0)
    assert hurries == [True, True, True, False]


def test_the_total_is_shared_first_ones_first_and_by_demand():
    stock = Stock(most=2)
    stock.floors = {LUA: 1, PYTHON: 2, RUBY: 1}
    stock.take(RUBY, 0.0)
    stock.take(RUBY, 0.0)
    stock.take(PYTHON, 0.0)
    assert stock.wanted(0.0) == {RUBY: 1, PYTHON: 1, LUA: 0}
    assert fill(stock, 0.0) == [RUBY, PYTHON]


def test_demand_never_takes_a_floor_away():
    stock = Stock(most=3)
    stock.floors = {LUA: 1}
    for i in range(100):
        stock.take(RUBY, i * 0.1)
        stock.take(PYTHON, i * 0.1)
    wanted = stock.wanted(10.0)
    assert wanted[LUA] == 1
    assert sum(wanted.values()) == 3


def test_dead_aged_and_replaced_containers_go():
    stock = Stock(most=10)
    stock.floors = {PYTHON: 1, RUBY: 1, LUA: 1}
    fill(stock, 0.0)
    dead = stock.take(PYTHON, 0.0)
    dead.container.alive = False
    stock.add(PYTHON, dead, 0.1)
    decision = stock.decide(1.0, {**IMAGES, "ruby": "id-new"})
    assert {spare.image_id for spare in decision.drop} == {"id-p", "id-r"}
    assert len(stock.decide(MAX_AGE_S + 1, IMAGES).drop) == 1


def test_a_dead_container_is_never_handed_out():
    stock = Stock(most=10)
    add(stock, PYTHON, 0.0).alive = False
    alive = add(stock, PYTHON, 0.0)
    assert stock.take(PYTHON, 1.0).container is alive
    assert stock.take(PYTHON, 1.0) is None


def test_its_state_reads_well():
    stock = Stock(most=10)
    add(stock, PYTHON, 0.0, took_s=0.6)
    assert repr(stock) == "<stock python 1>"


MIB = 2**20
STARTED = Ahead("main.py", "run", "python main.py", (), 30, memory_bytes=40 * MIB)
READY = replace(PYTHON, ahead=STARTED)
OTHER = replace(PYTHON, ahead=replace(STARTED, file="other.py"))


def test_what_a_container_has_started_counts_in_the_memory_that_spares_may_take():
    stock = Stock(most=10, memory_bytes=100 * MIB)
    stock.floors = {READY: 3, RUBY: 3}
    # 8 MiB each, and 40 MiB for what is started.
    assert stock.wanted(0.0) == {READY: 1, RUBY: 3}
    stock = Stock(most=10, memory_bytes=40 * MIB)
    stock.floors = {READY: 3, RUBY: 3}
    assert stock.wanted(0.0) == {READY: 0, RUBY: 3}


def test_a_spare_that_has_started_something_else_serves_where_there_is_no_other():
    stock = Stock(most=10)
    own, bare, other = (add(stock, box, 0.0) for box in (READY, PYTHON, OTHER))
    ruby = add(stock, RUBY, 0.0)
    assert stock.take(READY, 1.0).container is own
    assert {stock.take(READY, 1.0).container for _ in range(2)} == {bare, other}
    assert stock.take(READY, 1.0) is None
    assert stock.take(RUBY, 1.0).container is ruby


def test_what_starts_slowly_is_kept_in_larger_numbers_and_nothing_else():
    stock = Stock(most=100)
    for at_s in range(30):
        stock.take(READY, at_s)
        stock.take(RUBY, at_s)
    before = stock.wanted(30.0)
    for _ in range(20):
        add(stock, READY, 30.0, took_s=2.0)
    after = stock.wanted(30.0)
    assert after[READY] > 2 * before[READY]
    assert after[RUBY] == before[RUBY]
