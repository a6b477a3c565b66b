"""How fast one client may start runs."""

import dataclasses

import pytest

from wsrunner.bucket import FORGET_AT
from wsrunner.errors import RateLimitedError
from wsrunner.runs.job import Allowance, Principal
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


def user(name, *, each, together):
    may = Allowance(user_runs_per_minute=each, runs_per_minute=together)
    return Principal("192.0.2.1", tenant="school", user=name, may=may)


def test_a_user_of_a_tenant_uses_up_its_own_runs_and_not_the_others(clock):
    rate = RateLimiter(0, clock)
    eve, bob = (user(name, each=2, together=4) for name in ("@eve", "@bob"))
    for _ in range(2):
        rate.admit(eve)
    for _ in range(100):
        with pytest.raises(RateLimitedError, match="this user has used its 2 runs a minute") as two:
            rate.admit(eve)
    assert two.value.retry_after_s == pytest.approx(30)
    for _ in range(2):
        rate.admit(bob)
    with pytest.raises(RateLimitedError, match="tenant school has used its 4 runs a minute"):
        rate.admit(user("@ann", each=2, together=4))


def test_users_of_one_name_are_others_in_another_tenant(clock):
    rate = RateLimiter(0, clock)
    eve = user("@eve", each=1, together=0)
    rate.admit(eve)
    rate.admit(dataclasses.replace(eve, tenant="shop"))
    with pytest.raises(RateLimitedError):
        rate.admit(eve)


def test_who_is_refused_by_address_takes_nothing_of_its_tenant(clock):
    rate = RateLimiter(1, clock)
    rate.admit(user("@eve", each=0, together=2))
    for _ in range(10):
        with pytest.raises(RateLimitedError, match="this address"):
            rate.admit(user("@eve", each=0, together=2))
    rate.admit(dataclasses.replace(user("@eve", each=0, together=2), client="192.0.2.2"))


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
