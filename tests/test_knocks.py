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
