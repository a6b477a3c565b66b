"""Who may do what: a request's headers become a principal, or a refusal.

Owns tokens, origins and the names that this server answers to. Knows no routes; what a principal's
runs may use is the gate's and the rate's to say. Must not touch sockets.
"""

from __future__ import annotations

import dataclasses
import functools
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from wsrunner import protocol
from wsrunner.runs.job import Allowance, Limits, Principal
from wsrunner.serving import answers
from wsrunner.serving.answers import Answer
from wsrunner.serving.signed import SignedTokenError, SignedTokens, looks_signed
from wsrunner.serving.tenancy import Tenancy
from wsrunner.serving.tickets import Tickets
from wsrunner.settings import Settings
from wsrunner.tenants import Tenant

HeaderValues = Callable[[str], Sequence[str]]
"""The values of a request's header by its name, in any case; whichever library has read it."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ROOM_TOKEN_PREFIX = "room."  # noqa: S105 - a prefix, not a token
"""Of a room's link as a token: the room's id, a dot, and one of its keys follow."""
SHOWN_MAX = 100
"""Characters of a client's own header that a refusal repeats."""


async def _nobody(_room: str, _key: str) -> None:
    """Whom a room's link stands for, where there are no rooms."""


class AccessError(Exception):
    """A request that is refused for who sends it.

    Args:
        message: What is wrong.
    """

    status: ClassVar[int]
    code: ClassVar[str]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def answer(self) -> Answer:
        """Return the answer that says so."""
        return answers.error(self.status, self.code, self.message)


class UnauthorizedError(AccessError):
    """No token, or a wrong one."""

    status = 401
    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "an access token is needed: X-Access-Token, Authorization: Bearer, or the subprotocol "
            f"{protocol.TOKEN_SUBPROTOCOL_PREFIX}TOKEN beside {protocol.SUBPROTOCOL}"
        )

    def answer(self) -> Answer:
        """See `AccessError.answer`."""
        answer = super().answer()
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer


class TokenError(UnauthorizedError):
    """A signed token that is not taken.

    Args:
        reason: Why.
    """

    def __init__(self, reason: str) -> None:
        AccessError.__init__(self, f"the signed token is not taken: {reason}")


class TicketError(UnauthorizedError):
    """A ticket that opens nothing."""

    def __init__(self) -> None:
        AccessError.__init__(self, "the ticket is none, was used, or is more than 30 s old")


class OperatorsOnlyError(AccessError):
    """What only operators may see where there are tenants."""

    status = 403
    code = "not_allowed"


class OriginError(AccessError):
    """A foreign page."""

    status = 403
    code = "origin_not_allowed"


class HostError(AccessError):
    """A name that is not this server's (RFC 9110 section 15.5.20)."""

    status = 421
    code = "host_not_allowed"


class Access:
    """Says who is asking, by the server's tokens and origins, and by those of its tenants.

    Args:
        settings: Tokens, origins and address.
        tenancy: The tenants.
        tickets: What opens a socket once.

    Attributes:
        host_of: Returns who has opened the room of an id, if a key opens it.
    """

    def __init__(self, settings: Settings, tenancy: Tenancy, tickets: Tickets) -> None:
        self.tickets = tickets
        self.host_of: Callable[[str, str], Awaitable[Principal | None]] = _nobody
        self._tenancy = tenancy
        self._signed = SignedTokens(tenancy, allowance_of)
        self._needs_token = bool(settings.token or settings.tenants)
        self._token = settings.token
        self._operator_token = settings.operator_token
        self._local = is_loopback(settings.host)
        self._proxies = tuple(ipaddress.ip_network(proxy) for proxy in settings.proxies)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.origin)
        self._listed = frozenset(urlsplit(origin).hostname for origin in self._origins)

    def user(self, headers: HeaderValues, client: str) -> Principal:
        """Return who asks for what needs the access token.

        Args:
            headers: Of the request.
            client: The address it came from.

        Raises:
            UnauthorizedError: See above.
        """
        tokens = list(_tokens(headers))
        client = client_of(headers, client, self._proxies)
        if not self._needs_token or _is_among(tokens, self._token):
            return Principal(client, user=client)
        principal = self._of_tenant(tokens, client)
        if principal is None:
            raise UnauthorizedError
        self._check_tenant_origin(headers, principal)
        return principal

    async def guest(self, headers: HeaderValues, client: str) -> Principal:
        """Return who asks for what a room's link opens, too; else as `user`.

        Such a guest counts for whoever has opened the room.

        Raises:
            UnauthorizedError: See `user`.
            GateUnavailableError: Redis can't be reached, and a link may open what it knows.
        """
        try:
            return self.user(headers, client)
        except UnauthorizedError:
            for token in _tokens(headers):
                room, _, key = token.removeprefix(ROOM_TOKEN_PREFIX).partition(".")
                if not token.startswith(ROOM_TOKEN_PREFIX):
                    continue
                host = await self.host_of(room, key)
                if host is not None:
                    return self._guest_of(host, room, headers, client)
            raise

    def _guest_of(
        self, host: Principal, room: str, headers: HeaderValues, client: str
    ) -> Principal:
        address = client_of(headers, client, self._proxies)
        principal = Principal(address, host.tenant, address, may=host.may, room=room, guest=True)
        if principal.tenant:
            self._check_tenant_origin(headers, principal)
        return principal

    def of_ticket(self, found: Principal | None, headers: HeaderValues, client: str) -> Principal:
        """Return whom a ticket stands for, at the address that it is used from.

        Args:
            found: Who asked for the ticket; None if there is no such ticket.
            headers: Of the request.
            client: The address it came from.

        Raises:
            TicketError: There is no such ticket.
            OriginError: Its tenant's page is another's.
        """
        if found is None:
            raise TicketError
        address = client_of(headers, client, self._proxies)
        # Whom the gate counts stays who asked, if that was a user of a tenant.
        user = found.user if found.subject else address
        principal = dataclasses.replace(found, client=address, user=user)
        if principal.tenant:
            self._check_tenant_origin(headers, principal)
        return principal

    def watcher(self, headers: HeaderValues, client: str) -> Principal:
        """Return who asks for figures that are of all tenants.

        Raises:
            UnauthorizedError, OriginError: See `user`.
            OperatorsOnlyError: It is a tenant, and no operator.
        """
        if self._tenancy.now and _is_among(list(_tokens(headers)), self._operator_token):
            return self.operator(headers, client)
        principal = self.user(headers, client)
        if principal.tenant and not principal.operator:
            raise OperatorsOnlyError("the figures are of all tenants, and for operators alone")
        return principal

    def operator(self, headers: HeaderValues, client: str) -> Principal:
        """Return who asks to watch the server, and whether they may command it, too.

        Operators are who has the operator token, or that of a tenant of operators; without any
        token, who is on this machine. Where there is no operator token, others may watch what is
        their own, and with tenants always.

        Raises:
            UnauthorizedError: See above.
            OriginError: A tenant's page is another's.
        """
        tokens = list(_tokens(headers))
        address = client_of(headers, client, self._proxies)
        if _is_among(tokens, self._operator_token):
            return Principal(address, user=address, operator=True)
        if self._operator_token and not self._of_tenant(tokens, address):
            raise UnauthorizedError
        principal = self.user(headers, client)
        if not self._needs_token:
            return dataclasses.replace(principal, operator=self._local)
        return principal

    def _of_tenant(self, tokens: Sequence[str], client: str) -> Principal | None:
        """Return the tenant whose token is among those given, or a user of a signed one.

        Raises:
            TokenError: A signed one is not taken.
        """
        for token in tokens:
            tenant = self._tenancy.now.of_token(token)
            if tenant is not None:
                return Principal(
                    client, tenant.name, client, tenant.operator, may=allowance_of(tenant)
                )
            if looks_signed(token) and self._tenancy.now:
                return self._of_signed(token, client)
        return None

    def _of_signed(self, token: str, client: str) -> Principal:
        try:
            bearer = self._signed.bearer(token)
        except SignedTokenError as exc:
            raise TokenError(str(exc)) from None
        claims = bearer.claims
        return Principal(
            client,
            bearer.tenant.name,
            # A name of its own kind: no address is one.
            user=f"@{claims.sub}",
            subject=claims.sub,
            may=bearer.may,
            room=claims.room,
            drives=claims.mode == "drive",
        )

    def _check_tenant_origin(self, headers: HeaderValues, principal: Principal) -> None:
        """Keep a page that is one tenant's from using another's token.

        Raises:
            OriginError: It is.
        """
        origins = headers("Origin")
        if not origins or origins[0].rstrip("/").lower() in principal.may.origins:
            return
        if not self._is_ours(origins, _host(headers).lower(), self._origins):
            raise OriginError(f"the origin {origins[0][:SHOWN_MAX]!r} is not this tenant's")

    def check_origin(self, headers: HeaderValues) -> None:
        """Let a page connect, if it is one, that is our own or on the list.

        On a loopback address our own has a loopback name: any other name that leads here is a
        foreign page whose owner points it at this machine (DNS rebinding).

        Raises:
            OriginError: It is a foreign one.
        """
        origins = headers("Origin")
        listed = self._origins | self._tenancy.now.origins
        if not origins or self._is_ours(origins, _host(headers).lower(), listed):
            return
        shown = origins[0][:SHOWN_MAX]
        raise OriginError(f"the origin {shown!r} is not allowed; see --origin")

    def _is_ours(self, origins: Sequence[str], host: str, listed: frozenset[str]) -> bool:
        origin = origins[0].rstrip("/").lower()
        if len(origins) > 1 or origin in listed:
            return len(origins) == 1
        try:
            own = urlsplit(origin).netloc == host and host != ""
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            # An unfinished IPv6 address, for one.
            return False
        return own and (is_loopback(name) or not self._local)

    def check_host(self, headers: HeaderValues) -> None:
        """Let a name pass that can be ours, where no token guards what is read.

        On a loopback address any other name is a foreign page's; see `check_origin`.

        Raises:
            HostError: It can't.
        """
        host = _host(headers)
        if not headers("Host") or self._needs_token or not self._local:
            return
        try:
            name = urlsplit(f"//{host.lower()}").hostname or ""
        except ValueError:
            name = ""
        if not is_loopback(name) and name not in self._listed:
            shown = host[:SHOWN_MAX]
            raise HostError(f"the host {shown!r} is not this server; see --origin")


def _host(headers: HeaderValues) -> str:
    """Return the name that is asked for; none if there are two (RFC 9112 section 3.2)."""
    hosts = headers("Host")
    return hosts[0] if len(hosts) == 1 else ""


def client_of(headers: HeaderValues, peer: str, proxies: Sequence[Network]) -> str:
    """Return the address of who asks: what our proxies say, and never what a client says itself.

    Each proxy adds the address it was asked from to X-Forwarded-For. So read from its end, an entry
    is true while what comes behind it is our proxies'.

    Args:
        headers: Of the request.
        peer: The address it came from.
        proxies: Those that are believed.
    """
    forwarded = [
        entry.strip() for value in headers("X-Forwarded-For") for entry in value.split(",")
    ]
    client = peer
    while forwarded and is_in(client, proxies):
        client = _bare(forwarded.pop())
    # What is no address is not worth more than the peer that let it pass.
    return client if _address(client) else peer


def _bare(entry: str) -> str:
    """Return an address without its port, as some proxies add it."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def is_in(client: str, networks: Sequence[Network]) -> bool:
    """Whether an address is of one of these networks."""
    address = _address(client)
    return address is not None and any(address in network for network in networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # As a socket that listens on IPv6 shows a client that comes by IPv4.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@functools.lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def allowance_of(tenant: Tenant) -> Allowance:
    """Return what a tenant may have."""
    limits = tenant.limits
    return Allowance(
        languages=frozenset(tenant.languages) or None,
        limits=Limits(
            wall_s=limits.wall_s,
            cpu_s=limits.cpu_s,
            memory_mb=limits.memory_mb,
            output_kb=limits.output_kb,
            pids=limits.pids,
        ),
        origins=frozenset(origin.rstrip("/").lower() for origin in tenant.origins),
        runs_per_minute=tenant.runs_per_minute,
        sockets=tenant.sockets,
        user_runs_per_minute=tenant.user_runs_per_minute,
        user_sockets=tenant.user_sockets,
        kept_runs=tenant.kept_runs,
        workspaces=tenant.workspaces,
        rooms=tenant.rooms,
    )


def _is_among(tokens: Sequence[str], wanted: str) -> bool:
    """Whether the token that is wanted, if one is, is among those given; in constant time."""
    expected = wanted.encode()
    # Bytes that are no UTF-8 come as lone surrogates.
    given = [token.encode(errors="surrogateescape") for token in tokens]
    return bool(wanted) and any(hmac.compare_digest(token, expected) for token in given)


def _tokens(headers: HeaderValues) -> Iterable[str]:
    """Yield every token a request carries, in the three ways there are."""
    yield from headers("X-Access-Token")
    for value in headers("Authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            yield token.strip()
    for value in headers("Sec-WebSocket-Protocol"):
        for entry in value.split(","):
            if entry.strip().startswith(protocol.TOKEN_SUBPROTOCOL_PREFIX):
                yield entry.strip().removeprefix(protocol.TOKEN_SUBPROTOCOL_PREFIX)
