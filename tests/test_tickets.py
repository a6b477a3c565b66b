"""Tickets: one socket each, once, for half a minute, on whichever replica."""

import json

import pytest
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidStatus

from tests.http_talk import post
from tests.talk import PATIENCE_S, Talk
from wsrunner import tenants
from wsrunner.errors import NoSeatError
from wsrunner.runs.job import Allowance, Limits, Principal
from wsrunner.serving.tickets import LIFE_S, TICKETS_EACH_MAX, TICKETS_MAX, Tickets

EVE = Principal(
    "192.0.2.1",
    "school",
    "@eve",
    subject="eve",
    may=Allowance(frozenset({"python"}), Limits(wall_s=2.5)),
)


async def test_a_ticket_stands_for_whoever_asked_for_it_once():
    tickets = Tickets(None)
    ticket, other = await tickets.issue(EVE), await tickets.issue(Principal("a"))
    assert ticket != other
    assert await tickets.redeem(ticket) == EVE
    assert await tickets.redeem(ticket) is None
    assert await tickets.redeem(other) == Principal("a")
    assert await tickets.redeem("nonsense") is None


async def test_a_ticket_ends_and_is_forgotten():
    now = [0.0]
    tickets = Tickets(None, lambda: now[0])
    old = await tickets.issue(EVE)
    for number in range(TICKETS_MAX - 1):
        await tickets.issue(Principal(f"192.0.2.{number % 100}"))
    with pytest.raises(NoSeatError) as full:
        await tickets.issue(EVE)
    assert full.value.retry_after_s == LIFE_S
    now[0] += LIFE_S
    assert await tickets.redeem(old) is None
    assert await tickets.redeem(await tickets.issue(EVE)) == EVE
    assert len(tickets._here) == 0


@pytest.mark.parametrize("eve", [EVE, Principal("192.0.2.1")])
async def test_nobody_takes_all_tickets(eve):
    tickets = Tickets(None)
    used = await tickets.issue(eve)
    for _ in range(TICKETS_EACH_MAX - 1):
        await tickets.issue(eve)
    with pytest.raises(NoSeatError, match="1000 tickets of this tenant or client"):
        await tickets.issue(eve)
    assert await tickets.issue(Principal("192.0.2.2", "shop"))
    assert await tickets.redeem(used) == eve
    assert await tickets.issue(eve)


def ticket_of(server, token):
    status, headers, body = post(server, "/v1/tickets", b"", **{"X-Access-Token": token})
    assert (status, headers["Cache-Control"]) == (201, "no-store")
    answer = json.loads(body)
    assert answer["expires_s"] == LIFE_S
    return answer["ticket"]


async def opens(server, ticket):
    """Return a run over a socket that the ticket opens, or the status of the refusal."""
    url = f"{server.url}/v1/run?ticket={ticket}"
    try:
        async with open_socket(url, compression=None, open_timeout=PATIENCE_S) as connection:
            return await Talk(connection).run("python", "print(6 * 7)")
    except InvalidStatus as exc:
        return exc.response.status_code


async def test_a_ticket_opens_one_socket(start_server):
    server = start_server(token="secret", warm_max=0)
    assert post(server, "/v1/tickets", b"")[0] == 401
    ticket = ticket_of(server, "secret")
    assert (await opens(server, ticket)).stdout == "42\n"
    assert await opens(server, ticket) == 401
    assert await opens(server, "none") == 401
    assert ticket not in server.log.read_text()


@pytest.mark.redis
async def test_a_ticket_of_one_replica_opens_a_socket_at_another(replicas, tmp_path):
    token = tenants.new_token()
    file = tmp_path / "tenants.toml"
    file.write_text(
        f'[[tenant]]\nname = "school"\ntokens = ["{tenants.hash_of(token)}"]\n'
        'languages = ["python"]\n'
    )
    one, two = replicas(2, tenants=file)
    ticket = ticket_of(one, token)
    assert (await opens(two, ticket)).stdout == "42\n"
    assert await opens(one, ticket) == 401
