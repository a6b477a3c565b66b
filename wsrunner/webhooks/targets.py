"""Where messages may go: the hosts an operator has named, and addresses that are everybody's.

Owns both rules. Pure: names are resolved by `sender`, which asks here for every address that it is
about to connect to, so that a name whose answer changes gains nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from wsrunner.errors import BadMessageError, NotAllowedError

URL_MAX = 2048
_PORTS = {"http": 80, "https": 443}
_PATH = "$.callback.url"

_CARRIERS = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped: RFC 4291 section 2.5.5.2
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated: RFC 2765 section 2.1
    (ipaddress.IPv6Network("::/96"), 0),  # IPv4-compatible: RFC 4291 section 2.5.5.1
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64: RFC 6052 section 2.1
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4: RFC 3056 section 2
)
"""Networks whose addresses lead to an IPv4 address, and how many bits stand behind that."""
_CLOSED = (
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 of a network's own: RFC 8215
    ipaddress.IPv6Network("2001::/32"),  # Teredo: RFC 4380
    ipaddress.IPv6Network("fec0::/10"),  # site-local, given up: RFC 3879
)
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""What stands before the IPv4 address in the last 64 bits: RFC 5214 section 6.1."""


class Targets:
    """The operator's rules.

    Args:
        hosts: ``name``, ``*.name`` for all below it, or ``*``; each with ``:port`` where that is
            not the scheme's own.
        private: Whether addresses are fine that not everybody can reach.
    """

    def __init__(self, hosts: Sequence[str], *, private: bool) -> None:
        self._hosts = [_parted(host) for host in hosts]
        self._private = private

    def __bool__(self) -> bool:
        """Whether messages may go anywhere."""
        return bool(self._hosts)

    def check(self, url: str) -> None:
        """Let a URL pass that messages may go to.

        Raises:
            BadMessageError: It is none of http or https.
            NotAllowedError: The operator has not named its host.
        """
        parts = _split(url)
        host, port = (parts.hostname or "").rstrip("."), _port(parts)
        own = port == _PORTS[parts.scheme]
        for name, wanted in self._hosts:
            if _is_named(host, name) and (port == wanted or (wanted is None and own)):
                return
        if not self._hosts:
            raise NotAllowedError(
                "this server sends no callbacks; its operator can name hosts for them with "
                "--webhook-hosts",
                path=_PATH,
            )
        place = host if own else f"{host}:{port}"
        raise NotAllowedError(
            f"callbacks to {place[:200]!r} are not allowed; see --webhook-hosts", path=_PATH
        )

    def why_not(self, address: str) -> str:
        """Return why no connection may be made to an address; nothing if one may."""
        return "" if self._private or is_public(address) else "not a public address"


def host_of(url: str) -> str:
    """Return what may be shown of a URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_public(address: str) -> bool:
    """Whether an address is one that everybody can reach, whatever form it has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        carried = _carried(parsed)
        if carried is not None:
            return _is_open(carried)
        if any(parsed in network for network in _CLOSED) or _is_tunnel(parsed):
            return False
    return _is_open(parsed)


def _is_open(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    # Multicast and reserved addresses count as global there.
    return address.is_global and not address.is_multicast and not address.is_reserved


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to, if it does."""
    number = int(address)
    for network, behind_bits in _CARRIERS:
        if address in network:
            return ipaddress.IPv4Address(number >> behind_bits & 0xFFFF_FFFF)
    return None


def _is_tunnel(address: ipaddress.IPv6Address) -> bool:
    """Whether it leads to an IPv4 address of the network that it belongs to."""
    return int(address) >> 32 & 0xFFFF_FFFF in _ISATAP


def _split(url: str) -> SplitResult:
    if len(url) > URL_MAX:
        raise BadMessageError(
            f"the URL has {len(url)} characters; the limit is {URL_MAX} characters", path=_PATH
        )
    try:
        parts = urlsplit(url)
        valid = parts.scheme in _PORTS and bool(parts.hostname) and _port(parts) > 0
    except ValueError:
        valid = False
    # What one library skips, another one may read as something else.
    plain = url.isascii() and url.isprintable() and not set(url) & set(' \\"<>^`{|}')
    if not valid or not plain:
        raise BadMessageError(
            "the URL must be one of http or https, in ASCII, such as https://ci.example/hook",
            path=_PATH,
        )
    if "@" in parts.netloc or "#" in url:
        raise BadMessageError("the URL may have neither user nor fragment", path=_PATH)
    return parts


def _port(parts: SplitResult) -> int:
    return _PORTS[parts.scheme] if parts.port is None else parts.port


def _parted(entry: str) -> tuple[str, int | None]:
    """Return an operator's entry as host and port."""
    host, colon, port = entry.lower().rpartition(":")
    if not colon or port.endswith("]"):
        host, port = entry.lower(), ""
    return host.strip("[]").rstrip("."), int(port) if port else None


def _is_named(host: str, name: str) -> bool:
    if name == "*":
        return True
    return host.endswith(name[1:]) if name.startswith("*.") else host == name
