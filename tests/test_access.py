"""From headers to a principal: pure."""

import asyncio
from ipaddress import ip_network

import pytest
from websockets.datastructures import Headers

from wsrunner import languages
from wsrunner.runs.job import Principal
from wsrunner.serving.access import (
    Access,
    HostError,
    OriginError,
    UnauthorizedError,
    client_of,
)
from wsrunner.serving.tenancy import Tenancy
from wsrunner.serving.tickets import Tickets
from wsrunner.settings import Settings


def access_of(settings):
    tenancy = Tenancy(settings.tenants, languages.load(), asyncio.Event())
    return Access(settings, tenancy, Tickets(None))


def headers(**given):
    return Headers({name.replace("_", "-"): value for name, value in given.items()}).get_all


def test_without_a_token_everybody_is_a_user_and_on_loopback_an_operator():
    access = access_of(Settings(host="127.0.0.1"))
    assert access.user(headers(), "10.0.0.1") == Principal("10.0.0.1", user="10.0.0.1")
    assert access.operator(headers(), "10.0.0.1") == Principal(
        "10.0.0.1", user="10.0.0.1", operator=True
    )


def test_a_server_that_is_open_to_everybody_has_no_operators():
    access = access_of(Settings(host="0.0.0.0", open=True))
    assert access.operator(headers(), "10.0.0.1").operator is False


@pytest.mark.parametrize(
    "given",
    [
        {"X_Access_Token": "secret"},
        {"Authorization": "Bearer secret"},
        {"Sec_WebSocket_Protocol": "wsrunner.v1, wsrunner.token.secret"},
    ],
)
def test_a_token_comes_in_three_ways_and_none_is_the_operator_s(given):
    access = access_of(Settings(token="secret", operator_token="master"))
    assert access.user(headers(**given), "10.0.0.1") == Principal("10.0.0.1", user="10.0.0.1")
    with pytest.raises(UnauthorizedError):
        access.operator(headers(**given), "a")
    assert access.operator(headers(X_Access_Token="master"), "a").operator
    for wrong in ({}, {"X_Access_Token": "secre"}, {"X_Access_Token": "master"}):
        with pytest.raises(UnauthorizedError):
            access.user(headers(**wrong), "a")


def test_foreign_pages_and_names_are_refused_on_loopback():
    access = access_of(Settings(host="127.0.0.1", origin=("https://ide.example",)))
    own = headers(Host="localhost:8001", Origin="http://localhost:8001")
    listed = headers(Host="localhost:8001", Origin="https://ide.example")
    for fine in (own, listed, headers()):
        access.check_origin(fine)
        access.check_host(fine)
    rebound = headers(Host="evil.example:8001", Origin="http://evil.example:8001")
    with pytest.raises(OriginError, match=r"evil\.example"):
        access.check_origin(rebound)
    with pytest.raises(HostError, match=r"evil\.example"):
        access.check_host(rebound)


PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),  # no proxy of ours: it may say anything
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.7, 203.0.113.9"], "203.0.113.9"),  # the first is the client's own
        ("10.0.0.1", ["198.51.100.7", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("fd00::1", ["[2001:db8::9]:4711"], "2001:db8::9"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
    ],
)
def test_a_forwarded_address_counts_from_our_proxies_alone(peer, forwarded, client):
    given = {"X-Forwarded-For": forwarded}
    assert client_of(lambda name: given.get(name, []), peer, PROXIES) == client


def test_a_token_s_client_is_the_forwarded_one():
    access = access_of(Settings(proxies=("10.0.0.0/8",)))
    principal = access.user(headers(X_Forwarded_For="203.0.113.9"), "10.0.0.1")
    assert principal == Principal("203.0.113.9", user="203.0.113.9")


@pytest.mark.parametrize(
    ("one", "other", "owns"),
    [
        (Principal("a", user="a"), Principal("a", user="a"), True),
        (Principal("a", user="a"), Principal("b", user="b"), False),
        (Principal("a"), Principal("a"), False),  # nobody is nobody's
        (Principal("a", operator=True), Principal("b", "school", user="b"), True),
        (Principal("a", "school"), Principal("b", "school", subject="eve"), True),
        (Principal("a", "school", subject="eve"), Principal("b", "school", subject="eve"), True),
        (Principal("a", "school", subject="bob"), Principal("b", "school", subject="eve"), False),
        (Principal("a", "school", subject="bob"), Principal("b", "school"), False),
        (Principal("a", "school"), Principal("b", "shop"), False),
        (Principal("a", user="a"), Principal("a", "school", user="a"), False),
    ],
)
def test_who_owns_what_is_anothers(one, other, owns):
    assert one.owns(other) is owns


def test_an_access_token_makes_no_operator():
    access = access_of(Settings(host="127.0.0.1", token="secret"))
    assert access.operator(headers(X_Access_Token="secret"), "127.0.0.1").operator is False
