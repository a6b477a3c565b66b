"""How many sockets one address, and the monitor, may have open at once."""

import asyncio
import contextlib
import ipaddress
import json
import socket
from types import SimpleNamespace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.http_talk import post
from tests.serving import docker, until
from tests.talk import PATIENCE_S
from tests.test_http import refused, shake_hands
from wsrunner.serving.access import is_loopback
from wsrunner.serving.seats import MONITORS_MOST


@pytest.fixture
def limited(start_server):
    """Where a server that takes two sockets of an address is reached: from outside, by loopback."""
    server = start_server(host="0.0.0.0", open=True, sockets_per_address=2, warm_max=0)
    return outside_of(server), f"127.0.0.1:{server.address.rpartition(':')[2]}"


def outside_of(server):
    """Return where a server on all addresses is reached by one that is not loopback."""
    subnet = docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Subnet}}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        # Nothing is sent: this asks which address of this machine leads there.
        way.connect((str(ipaddress.ip_network(subnet.strip())[2]), 9))
        own = way.getsockname()[0]
    return f"{own}:{server.address.rpartition(':')[2]}"


def open_socket(address, path="/v1/run"):
    return connect(f"ws://{address}{path}", compression=None, open_timeout=PATIENCE_S)


async def opens(address, path="/v1/run"):
    """Return whether a further socket can be opened."""
    with contextlib.suppress(InvalidStatus):
        async with open_socket(address, path):
            return True
    return False


async def opens_again(address, path="/v1/run"):
    """Wait until the server knows that a socket was closed."""
    async with asyncio.timeout(PATIENCE_S):
        while not await opens(address, path):
            await asyncio.sleep(0.05)


async def test_an_address_s_sockets_are_counted_and_a_further_one_is_429(limited):
    outside, loopback = limited
    async with open_socket(outside), open_socket(outside, "/v1/run/python"):
        answer = await asyncio.to_thread(shake_hands, outside)
        message = refused(answer, 429, "busy")
        assert "2 sockets" in message
        assert int(answer[1]["Retry-After"]) > 0
        assert await opens(loopback)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(open_socket(loopback))
    await opens_again(outside)


async def test_a_run_over_http_counts_as_a_socket_while_it_goes_on(limited):
    outside, _ = limited
    there = SimpleNamespace(address=outside)
    body = {"language": "python", "code": "print(1)"}
    async with open_socket(outside):
        assert (await asyncio.to_thread(post, there, "/v1/run", body))[0] == 200
        async with open_socket(outside):
            answer = await asyncio.to_thread(post, there, "/v1/run", body)
            assert "2 sockets" in refused(answer, 429, "busy")
            assert int(answer[1]["Retry-After"]) > 0
    await opens_again(outside)


async def test_a_handshake_that_fails_takes_no_seat(limited):
    outside, _ = limited
    for _ in range(5):
        answer = await asyncio.to_thread(shake_hands, outside, **{"Sec-WebSocket-Version": "1"})
        assert answer[0] in {400, 426, 429}
    await opens_again(outside)


async def test_the_monitor_has_so_many_sockets_and_runs_are_not_concerned(server):
    path = "/v1/monitor"
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MONITORS_MOST):
            await stack.enter_async_context(open_socket(server.address, path))
        answer = await asyncio.to_thread(shake_hands, server.address, path)
        assert f"{MONITORS_MOST} sockets" in refused(answer, 429, "busy")
        assert await opens(server.address)
    await opens_again(server.address, path)


async def test_unfinished_messages_of_many_sockets_take_no_more_than_is_allowed(start_server):
    """Forty sockets, each with two MiB of a message that never ends, where eight are allowed."""
    server = start_server(inbox_mb=8, warm_max=0)
    before_kb = server.resident_kb()
    piece = "x" * 2**20

    async def pieces():
        yield piece
        yield piece
        await asyncio.Event().wait()

    async with contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(open_socket(server.address)) for _ in range(40)]
        sending = [asyncio.create_task(each.send(pieces())) for each in crowd]
        # Four fit; of what was closed nothing is kept.
        closed = lambda: sum(each.close_code == 1013 for each in crowd)  # noqa: E731
        await asyncio.to_thread(until, lambda: closed() >= len(crowd) - 4, "the rest is closed")
        assert server.peak_kb() - before_kb < 48 * 1024
        async with server.talk() as talk:
            await talk.say_raw("{}")
            assert (await talk.hear_error())["code"] == "bad_message"
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        assert json.loads(server.get("/readyz")) == {"status": "ready"}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_what_only_this_machine_reaches_is_not_counted(address):
    assert is_loopback(address)
    assert not is_loopback("::ffff:192.0.2.1")
