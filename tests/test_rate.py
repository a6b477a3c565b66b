"""How fast one client may start runs."""

import pytest

from wsrunner.bucket import FORGET_AT
from wsrunner.errors import RateLimitedError
from wsrunner.serving.rate import RateLimiter


class Clock:
    """Time that moves when told."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def refused(rate, key="a"):
    with pytest.raises(RateLimitedError) as caught:
        rate.take(key)
    return caught.value


def test_zero_sets_no_limit(clock):
    rate = RateLimiter(0, clock)
    for _ in range(10_000):
        rate.take("a")


def test_a_minute_s_runs_may_come_at_once_and_no_more(clock):
    rate = RateLimiter(6, clock)
    for _ in range(6):
        rate.take("a")
    error = refused(rate)
    assert error.retry_after_s == pytest.approx(10)
    assert "6 runs a minute" in error.message


def test_after_retry_after_the_next_run_is_taken_and_only_that(clock):
    rate = RateLimiter(6, clock)
    for _ in range(6):
        rate.take("a")
    clock.now_s += refused(rate).retry_after_s + 1e-6
    rate.take("a")
    refused(rate)


def test_refusals_cost_nothing(clock):
    rate = RateLimiter(1, clock)
    rate.take("a")
    for _ in range(100):
        refused(rate)
    clock.now_s += 60.001
    rate.take("a")


def test_clients_do_not_share_their_runs(clock):
    rate = RateLimiter(1, clock)
    rate.take("a")
    rate.take("b")
    refused(rate, "a")
    refused(rate, "b")


def test_a_bucket_never_holds_more_than_a_minute_s_runs(clock):
    rate = RateLimiter(2, clock)
    rate.take("a")
    clock.now_s += 10_000
    rate.take("a")
    rate.take("a")
    refused(rate)


def test_clients_that_come_no_more_are_forgotten_and_the_others_are_not(clock):
    rate = RateLimiter(1, clock)
    for number in range(FORGET_AT - 1):
        rate.take(f"old{number}")
    clock.now_s += 59
    rate.take("recent")
    clock.now_s += 2
    rate.take("new")
    assert len(rate._buckets) == 2
    refused(rate, "recent")
