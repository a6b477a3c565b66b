"""Who shares this server: an operator's TOML file of tenants, their tokens, keys and shares.

Owns the file's form and who a token belongs to. Pure but for reading files. Imports only `errors`
and `languages`; what a request comes to is for `serving.access`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from wsrunner.errors import SetupError, WsrunnerError
from wsrunner.languages import Catalogue

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOKEN_PREFIX = "wsr_"  # noqa: S105  by it a leaked token is found by those who look for such
HASH_PREFIX = "sha256:"
TOKEN_BYTES = 32
SECRET_MIN_BYTES = 32
"""As long as the hash of HS256 (RFC 7518 section 3.2)."""

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")]
Hash = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Origin = Annotated[str, Meta(pattern=r"^(null|[A-Za-z][A-Za-z0-9+.-]*://[^/*\s]+/?)\Z")]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Algorithm = Literal["EdDSA", "HS256"]


class TenantLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that a tenant's runs may ask for; the server's own limits hold as well."""

    wall_s: Annotated[float, Meta(ge=0.1)] | None = None
    cpu_s: Annotated[int, Meta(ge=1)] | None = None
    memory_mb: Annotated[int, Meta(ge=16)] | None = None
    output_kb: Annotated[int, Meta(ge=1)] | None = None
    pids: Annotated[int, Meta(ge=8)] | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the tokens are signed with that a tenant's backend makes.

    Attributes:
        kid: Its name, in the tokens' heads.
        algorithm: The only one that it is used with.
        key: An Ed25519 public key in PEM, or the secret of HS256.
        file: A file that has it.
    """

    kid: Annotated[str, Meta(min_length=1, max_length=100)]
    algorithm: Algorithm
    key: str = ""
    file: str = ""


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[[tenant]]``; 0 and empty lists set no limit. See docs/tenants.md."""

    name: Name
    tokens: tuple[Hash, ...] = ()
    keys: tuple[Key, ...] = ()
    audience: Annotated[str, Meta(min_length=1)] = "wsrunner"
    operator: bool = False
    slots: Count = 0
    queue: Count = 0
    runs_per_minute: Count = 0
    sockets: Count = 0
    user_runs_per_minute: Count = 0
    user_sockets: Count = 0
    kept_runs: Count = 0
    workspaces: Count = 0
    rooms: Count = 0
    languages: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()
    limits: TenantLimits = TenantLimits()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tenant: tuple[Tenant, ...] = ()


class Tenants:
    """All tenants of a server.

    Args:
        tenants: With the secrets and keys of their `keys` in place.

    Raises:
        SetupError: Two have the same name, token or key's name.
    """

    def __init__(self, tenants: Sequence[Tenant] = ()) -> None:
        self._tenants = {tenant.name: tenant for tenant in tenants}
        self._tokens = {token: tenant for tenant in tenants for token in tenant.tokens}
        self._keys = {key.kid: (tenant, key) for tenant in tenants for key in tenant.keys}
        named = [tenant.name for tenant in tenants]
        kids = [key.kid for tenant in tenants for key in tenant.keys]
        _check_once("tenant", named)
        _check_once("kid", kids)
        _check_once("token", [token for tenant in tenants for token in tenant.tokens])
        self.origins = frozenset(
            origin.rstrip("/").lower() for tenant in tenants for origin in tenant.origins
        )

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self._tenants.values())

    def __len__(self) -> int:
        return len(self._tenants)

    def of_token(self, token: str) -> Tenant | None:
        """Return whose token it is.

        What is looked up is its hash: the time that takes says nothing about a token.
        """
        hashed = hash_of(token)
        tenant = self._tokens.get(hashed)
        known = (
            any(hmac.compare_digest(hashed, each) for each in tenant.tokens) if tenant else False
        )
        return tenant if known else None

    def of_key(self, kid: str) -> tuple[Tenant, Key] | None:
        """Return whose key has this name, and the key."""
        return self._keys.get(kid)


def new_token() -> str:
    """Return a token that nobody can guess, of characters that a subprotocol can carry."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hash_of(token: str) -> str:
    """Return a token as the file has it."""
    # Bytes that are no UTF-8 come as lone surrogates.
    return HASH_PREFIX + hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def ed25519_key(pem: str) -> Ed25519PublicKey:
    """Return the public key that is written so.

    Raises:
        ValueError: It is none.
    """
    # Loaded where it is used only: it takes a third of the server's start.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("a key of another kind")  # noqa: TRY004  wrong as what a file says
    return key


def load(path: str | Path, catalogue: Catalogue) -> Tenants:
    """Read a file of tenants.

    Args:
        path: The file.
        catalogue: Knows the languages that it may name, by id or alias.

    Raises:
        SetupError: It can't be read, or is wrong; names the file and the place.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise SetupError(f"can't read {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SetupError(f"{path} is not valid TOML: {exc}") from exc
    try:
        file = msgspec.convert(tables, _File)
        return Tenants([_whole(tenant, catalogue, Path(path).parent) for tenant in file.tenant])
    except msgspec.ValidationError as exc:
        raise SetupError(f"{path}: {exc}") from exc
    except SetupError as exc:
        raise SetupError(f"{path}: {exc}") from exc


def _whole(tenant: Tenant, catalogue: Catalogue, folder: Path) -> Tenant:
    """Return a tenant with its languages' ids, and with its keys read.

    Raises:
        SetupError: A language is unknown, or a key can't be used.
    """
    try:
        languages = tuple(catalogue.find(name).id for name in tenant.languages)
        keys = tuple(_read_key(key, folder) for key in tenant.keys)
    except (WsrunnerError, SetupError) as exc:
        raise SetupError(f"tenant {tenant.name}: {exc}") from exc
    return msgspec.structs.replace(tenant, languages=languages, keys=keys)


def _read_key(key: Key, folder: Path) -> Key:
    """Return a key with its content in `key`.

    Raises:
        SetupError: Neither or both of `key` and `file` are given, or it is no key of its kind.
    """
    if bool(key.key) == bool(key.file):
        raise SetupError(f"key {key.kid}: give either key or file")
    content = key.key
    if key.file:
        try:
            content = (folder / key.file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise SetupError(f"key {key.kid}: can't read {key.file}: {exc}") from exc
    if key.algorithm == "EdDSA":
        try:
            ed25519_key(content)
        except ValueError as exc:
            raise SetupError(f"key {key.kid}: EdDSA needs an Ed25519 public key in PEM") from exc
    is_pem = content.lstrip().startswith("-----BEGIN ")
    if key.algorithm == "HS256" and is_pem:
        raise SetupError(f"key {key.kid}: HS256 needs a secret, and this is a key of another kind")
    if key.algorithm == "HS256" and len(content.encode()) < SECRET_MIN_BYTES:
        raise SetupError(
            f"key {key.kid}: the secret has {len(content.encode())} bytes; HS256 needs "
            f"{SECRET_MIN_BYTES} or more"
        )
    return msgspec.structs.replace(key, key=content, file="")


def _check_once(what: str, names: Sequence[str]) -> None:
    """Check that no name comes twice; a token is not told."""
    for name in names:
        if names.count(name) > 1:
            shown = "" if what == "token" else f" {name}"
            raise SetupError(f"the {what}{shown} is there {names.count(name)} times")
