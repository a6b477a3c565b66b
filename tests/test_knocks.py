"""How fast one address may open connections."""

import asyncio
import json

import pytest

from tests.test_http import shake_hands
from tests.test_seats import outside_of
from wsrunner.serving.knocks import BURST_S, Knocks


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_an_address_is_heard_again_after_what_it_was_told_to_wait():
    clock = Clock()
    knocks = Knocks(2, clock)
    assert [knocks.wait_s("192.0.2.1") for _ in range(int(2 * BURST_S))] == [0.0] * 10
    wait_s = knocks.wait_s("192.0.2.1")
    assert wait_s == pytest.approx(0.5)
    assert knocks.wait_s("192.0.2.2") == 0.0
    clock.now += wait_s
    assert knocks.wait_s("192.0.2.1") == 0.0
    assert knocks.wait_s("192.0.2.1") > 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_and_no_limit_are_never_refused(address):
    assert not any(Knocks(1).wait_s(address) for _ in range(1000))
    assert not any(Knocks(0).wait_s("192.0.2.1") for _ in range(1000))


async def test_who_comes_too_fast_is_told_when_to_come_again(start_server):
    server = start_server(host="0.0.0.0", open=True, connections_per_s=1, warm_max=0)
    outside = outside_of(server)
    tries = [asyncio.to_thread(shake_hands, outside) for _ in range(20)]
    answers = await asyncio.gather(*tries)
    assert {answer[0] for answer in answers} == {101, 429}
    _, headers, body = next(answer for answer in answers if answer[0] == 429)[:3]
    assert json.loads(body)["code"] == "rate_limited"
    assert json.loads(body)["retry_after_s"] > 0
    assert int(headers["Retry-After"]) >= 1


def forwarded(*values):
    return {"X-Forwarded-For": list(values)}.__getitem__


def test_through_a_proxy_it_is_the_client_s_address_that_counts():
    knocks = Knocks(1, Clock(), proxies=["10.0.0.0/8"])
    assert knocks.is_proxy("10.1.2.3")
    assert not knocks.is_proxy("192.0.2.1")
    for _ in range(int(BURST_S)):
        assert knocks.wait_s_of(forwarded("192.0.2.1"), "10.1.2.3") == 0
    assert knocks.wait_s_of(forwarded("192.0.2.1"), "10.1.2.3") > 0
    # What a client says itself stands before what the proxy adds, and counts for nothing.
    assert knocks.wait_s_of(forwarded("192.0.2.9, 192.0.2.1"), "10.1.2.3") > 0
    assert knocks.wait_s_of(forwarded("192.0.2.2"), "10.1.2.3") == 0
    assert not any(knocks.wait_s_of(forwarded(), "10.1.2.3") for _ in range(100))


async def test_a_client_behind_a_proxy_is_refused_and_the_next_one_is_not(start_server):
    server = start_server(proxies="127.0.0.1", connections_per_s=1, warm_max=0)

    def come(client):
        return shake_hands(server.address, **{"X-Forwarded-For": client})

    answers = await asyncio.gather(*(asyncio.to_thread(come, "192.0.2.1") for _ in range(20)))
    assert {answer[0] for answer in answers} == {101, 429}
    assert (await asyncio.to_thread(come, "192.0.2.2"))[0] == 101
