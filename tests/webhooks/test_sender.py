"""One attempt: where it connects, and what it makes of the answer."""

import socket

import pytest

from wsrunner.webhooks import sender
from wsrunner.webhooks.message import Message
from wsrunner.webhooks.sender import Sender
from wsrunner.webhooks.targets import Targets


async def sent(url, *, private=True):
    """Make one attempt; return how it went."""
    async with Sender(Targets(["*"], private=private), 4) as opened:
        return await opened.send(Message(id="r", url=url, body=b"{}"), "a1")


async def test_a_receiver_gets_the_message(receiver):
    outcome = await sent(receiver.url + "?a=%2F")
    assert outcome.delivered
    (request,) = receiver.received
    assert (request.path, request.body) == ("/hook?a=%2F", b"{}")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["wsrunner-attempt"] == "a1"
    assert "cookie" not in request.headers


async def test_redirects_are_not_followed(receiver):
    receiver.answers.append((302, {"Location": receiver.url + "/elsewhere"}))
    outcome = await sent(receiver.url)
    assert (outcome.status, outcome.delivered) == (302, False)
    assert len(receiver.received) == 1


async def test_an_answer_says_when_to_come_again_or_never(receiver):
    receiver.answers += [(503, {"Retry-After": "7"}), (410, {})]
    outcome = await sent(receiver.url)
    assert (outcome.status, outcome.retry_after, outcome.final) == (503, "7", False)
    assert (await sent(receiver.url)).final


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0"]
)
async def test_no_connection_is_made_to_this_machine_by_whatever_name(receiver, host):
    outcome = await sent(f"http://{host}:{receiver.port}/hook", private=False)
    assert not outcome.delivered
    # The client library takes some of these for no URL.
    assert "not a public address" in outcome.error or outcome.error == "InvalidUrlClientError"
    assert receiver.received == []


async def test_a_name_whose_answer_changes_gains_nothing(receiver, monkeypatch):
    """Each look-up has another answer, as from a name server that means harm."""
    asked, real = [], socket.getaddrinfo

    def look_up(host, *rest, **options):
        asked.append(host)
        return real("127.0.0.1" if len(asked) % 2 else "10.255.255.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for _ in range(3):
        outcome = await sent(f"http://hook.example:{receiver.port}/", private=False)
        assert "not a public address" in outcome.error
    assert "hook.example" in asked
    assert receiver.received == []


async def test_a_receiver_that_does_not_answer_is_given_up(receiver, monkeypatch):
    monkeypatch.setattr(sender, "ANSWER_S", 0.2)
    receiver.hold.clear()
    outcome = await sent(receiver.url)
    assert outcome.error == "no answer within 0.2 s"


async def test_what_is_told_of_an_error_has_no_path_of_the_url(receiver):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        outcome = await sent(f"http://127.0.0.1:{closed.getsockname()[1]}/secret")
    assert outcome.status is None
    assert "Connect" in outcome.error
    assert "secret" not in outcome.error
