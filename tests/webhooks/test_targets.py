"""Where callbacks may go."""

import pytest

from wsrunner.errors import BadMessageError, NotAllowedError
from wsrunner.webhooks.targets import Targets, host_of, is_public

HOSTS = ["ci.example", "*.hooks.example", "CI2.example:8443", "[2001:db8::1]:9000"]


@pytest.mark.parametrize(
    "url",
    [
        "https://ci.example",
        "http://CI.example:80/x?y=1",
        "https://ci.example./x",
        "https://a.b.hooks.example/",
        "https://ci2.example:8443/",
        "http://[2001:db8::1]:9000/",
    ],
)
def test_urls_of_hosts_that_are_named_pass(url):
    Targets(HOSTS, private=False).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://ci.example:8443/",  # a port that is not named
        "https://ci2.example/",  # no other than the named one
        "https://hooks.example/",  # the wildcard is for what is below
        "https://evilhooks.example/",
        "https://ci.example.evil.example/",
        "http://127.0.0.1/",
        "http://2130706433/",
    ],
)
def test_urls_of_other_hosts_are_refused(url):
    with pytest.raises(NotAllowedError, match="--webhook-hosts"):
        Targets(HOSTS, private=False).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ci.example/x",
        "ftp://ci.example/",
        "https:///x",
        "https://user:pass@ci.example/",
        "https://ci.example@evil.example/",
        "https://ci.example\\@evil.example/",
        "https://ci.example/#x",
        "https://ci.example:99999/",
        "https://ci.example:0/",
        "https://ci.example/\r\nHost: evil",
        "https://ci.example\t.evil.example/",
        "https://cï.example/",
        "https://[::1/",
        "https://ci.example/" + "x" * 3000,
    ],
)
def test_what_is_no_plain_url_is_told(url):
    with pytest.raises(BadMessageError) as caught:
        Targets(["*"], private=False).check(url)
    assert caught.value.path == "$.callback.url"


def test_a_star_is_for_every_host_but_not_for_every_port():
    targets = Targets(["*"], private=False)
    targets.check("https://anywhere.example/")
    with pytest.raises(NotAllowedError):
        targets.check("https://anywhere.example:22/")


def test_without_hosts_the_setting_is_named():
    with pytest.raises(NotAllowedError, match="--webhook-hosts"):
        Targets([], private=True).check("https://ci.example/")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "fec0::1"),
        # Forms of 127.0.0.1 and 10.0.0.1.
        *("::ffff:127.0.0.1", "::ffff:0a00:1", "::ffff:0:127.0.0.1", "::127.0.0.1"),
        *("64:ff9b::127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1"),
        *("64:ff9b:1::808:808", "2001:0:7f00:1::1", "2001:db8::1", "2607:f8b0::5efe:a00:1"),
        *("fe80::5efe:8.8.8.8", "localhost", ""),
    ],
)  # fmt: skip
def test_addresses_that_not_everybody_can_reach_are_told_in_every_form(address):
    assert not is_public(address)
    assert Targets([], private=False).why_not(address)
    assert not Targets([], private=True).why_not(address)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"),
        *("64:ff9b::808:808", "2002:808:808::1"),
    ],
)
def test_public_addresses_pass(address):
    assert is_public(address)


def test_of_a_url_the_host_alone_is_shown():
    assert host_of("https://ci.example:8443/secret?token=1") == "ci.example"
    assert host_of("https://[") == ""
