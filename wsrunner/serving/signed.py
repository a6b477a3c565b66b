"""Signed tokens: what a tenant's backend makes for its users, read into principals.

JSON Web Tokens (RFC 7519) by PyJWT, which is loaded when the first one comes. The algorithm is the
key's own, whatever a token says (RFC 8725 section 3.1). Nothing of a token is ever logged or told.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from wsrunner.errors import UnknownLanguageError
from wsrunner.runs.job import Allowance, Limits
from wsrunner.tenants import Key, Tenant, TenantLimits, ed25519_key

if TYPE_CHECKING:
    from wsrunner.serving.tenancy import Tenancy

TOKEN_MAX = 4096
"""Characters of a token; a head with one of these has room for more."""
LIFE_MAX_S = 24 * 3600
"""How far ahead a token may end: those who lose one lose it for no longer."""
LEEWAY_S = 5
"""What clocks may differ by."""
REMEMBERED_MAX = 10_000
_REASONS = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet (nbf)",
    "InvalidAudienceError": "its aud is not the one of this tenant",
    "InvalidAlgorithmError": "its alg is not the one of its key",
    "InvalidSignatureError": "its signature is wrong",
    "InvalidIssuedAtError": "its iat is no time",
}


class SignedTokenError(Exception):
    """A signed token that is not taken; the message says why, and nothing of the token."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says; claims that are not here are not looked at.

    Attributes:
        sub: Which of the tenant's users it is for.
        exp: When it ends, in Unix time.
        languages: Those that the user may run, by id or alias; the tenant's if left out.
        limits: The most that the user's runs may ask for.
        room: The only room that the user may enter; any if left out.
        mode: Whether the user may start and drive runs, or only watch.
    """

    sub: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,128}\Z")]
    exp: float
    languages: tuple[str, ...] | None = None
    limits: TenantLimits = TenantLimits()
    room: str = ""
    mode: Literal["view", "drive"] = "drive"


class Bearer(NamedTuple):
    """Who a token is for.

    Attributes:
        tenant: Whose key has signed it.
        claims: What it says.
        may: What its user may have: what the tenant has and the token leaves.
    """

    tenant: Tenant
    claims: Claims
    may: Allowance


class SignedTokens:
    """Reads signed tokens, and remembers those that were good: a signature costs some 0.1 ms.

    Args:
        tenancy: Has the keys.
        allowance_of: What a tenant may have.
        now: The wall clock, in seconds.
    """

    def __init__(
        self,
        tenancy: Tenancy,
        allowance_of: Callable[[Tenant], Allowance],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._tenancy = tenancy
        self._allowance_of = allowance_of
        self._now = now
        self._tenants = tenancy.now
        self._known: dict[bytes, Bearer] = {}

    def bearer(self, token: str) -> Bearer:
        """Return who a token is for.

        Raises:
            SignedTokenError: It is not taken.
        """
        if self._tenants is not self._tenancy.now:
            # Keys, or what tenants may have, may be others.
            self._tenants = self._tenancy.now
            self._known.clear()
        if len(token) > TOKEN_MAX:
            raise SignedTokenError(f"it has {len(token)} characters; the limit is {TOKEN_MAX}")
        name = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        known = self._known.get(name)
        if known is None:
            known = self._read(token)
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            self._known[name] = known
        if known.claims.exp + LEEWAY_S <= self._now():
            self._known.pop(name, None)
            raise SignedTokenError(_REASONS["ExpiredSignatureError"])
        return known

    def _read(self, token: str) -> Bearer:
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid")
            found = self._tenants.of_key(kid) if isinstance(kid, str) else None
            if found is None:
                raise SignedTokenError("its kid names none of the keys here")
            tenant, key = found
            claims = jwt.decode(
                token,
                _prepared(key),
                algorithms=[key.algorithm],
                audience=tenant.audience,
                leeway=LEEWAY_S,
                options={"require": ["exp", "aud", "sub"]},
            )
        except jwt.MissingRequiredClaimError as exc:
            raise SignedTokenError(f"it has no {exc.claim}") from None
        except jwt.PyJWTError as exc:
            # Its own words may quote the token.
            reason = _REASONS.get(type(exc).__name__, "it can't be read")
            raise SignedTokenError(reason) from None
        return self._bearer(tenant, claims)

    def _bearer(self, tenant: Tenant, payload: dict[str, Any]) -> Bearer:
        try:
            claims = msgspec.convert(payload, Claims)
        except msgspec.ValidationError as exc:
            raise SignedTokenError(f"its claims are wrong: {exc}") from None
        if claims.exp > self._now() + LIFE_MAX_S + LEEWAY_S:
            raise SignedTokenError(f"its exp is more than {LIFE_MAX_S} s ahead")
        try:
            may = narrowed(self._allowance_of(tenant), claims, self._tenancy.language_ids)
        except UnknownLanguageError as exc:
            raise SignedTokenError(f"its languages: {exc.message}") from None
        return Bearer(tenant, claims, may)


def looks_signed(token: str) -> bool:
    """Whether a token may be a signed one: three parts, the first a JSON object's (RFC 7519)."""
    return token.startswith("ey") and token.count(".") == 2  # noqa: PLR2004  a JWS has three parts


def narrowed(
    may: Allowance, claims: Claims, language_ids: Callable[[tuple[str, ...]], frozenset[str]]
) -> Allowance:
    """Return what a user may have: never more than the tenant.

    Raises:
        UnknownLanguageError: The claims name one that there is not.
    """
    languages = may.languages
    if claims.languages is not None:
        own = language_ids(claims.languages)
        languages = own if languages is None else own & languages
    lower: dict[str, Any] = {}
    for name in Limits.__slots__:
        values = (getattr(may.limits, name), getattr(claims.limits, name))
        lower[name] = min((value for value in values if value is not None), default=None)
    return dataclasses.replace(may, languages=languages, limits=Limits(**lower))


@functools.lru_cache(maxsize=1024)
def _prepared(key: Key) -> Any:
    """Return a key as PyJWT takes it without reading it again each time."""
    if key.algorithm == "HS256":
        return key.key
    return ed25519_key(key.key)
