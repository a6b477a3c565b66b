"""How many connections a second one address may open.

Owns the counts. Pure but for the clock it is given. Each connection costs a handshake, TLS's most
of all, before anything is known of who asks.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Sequence

from wsrunner.bucket import Buckets
from wsrunner.serving.access import HeaderValues, client_of, is_in, is_loopback

BURST_S = 5.0
"""For how many seconds' connections an address may be ahead of its rate."""


class Knocks:
    """Counts new connections by address.

    Args:
        per_s: Connections a second that one address may open over time; 0 for no limit. Loopback
            addresses have none, as they are many people's where a proxy or a tunnel ends there.
        clock: Monotonic seconds.
        proxies: Addresses or networks of those that are believed who comes through them.
    """

    def __init__(
        self,
        per_s: int,
        clock: Callable[[], float] = time.monotonic,
        proxies: Sequence[str] = (),
    ) -> None:
        self._per_s = per_s
        self._proxies = tuple(ipaddress.ip_network(proxy) for proxy in proxies)
        self._burst = per_s * BURST_S
        self._clock = clock
        self._buckets = Buckets()

    def is_proxy(self, peer: str) -> bool:
        """Whether only the request will say who comes."""
        return is_in(peer, self._proxies)

    def wait_s_of(self, headers: HeaderValues, peer: str) -> float:
        """Count a connection through a proxy as its client's, see `wait_s`.

        What a proxy asks for itself, such as whether the server is there, has no limit.
        """
        client = client_of(headers, peer, self._proxies)
        return 0.0 if self.is_proxy(client) else self.wait_s(client)

    def wait_s(self, address: str) -> float:
        """Count a connection; returns 0, or after how many seconds a further one is welcome."""
        if not self._per_s or is_loopback(address):
            return 0.0
        now = self._clock()
        bucket = self._buckets.of(address, self._per_s, self._burst, now)
        return 0.0 if bucket.take(now) else bucket.wait_s(1, now)
