"""Signed tokens: what is taken, what is refused and why, and what they narrow."""

import asyncio
import base64
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from websockets.exceptions import InvalidStatus

from tests.serving import until
from wsrunner import languages, tenants
from wsrunner.errors import SetupError
from wsrunner.runs.job import Limits
from wsrunner.serving.access import allowance_of
from wsrunner.serving.signed import LEEWAY_S, TOKEN_MAX, SignedTokenError, SignedTokens
from wsrunner.serving.tenancy import Tenancy

CATALOGUE = languages.load()
SECRET = "a-secret-of-at-least-thirty-two-bytes"
PRIVATE, OTHER = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()


def pem(key):
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


PUBLIC = pem(PRIVATE.public_key())
FILE = f"""
[[tenant]]
name = "school"
languages = ["python", "javascript"]
limits = {{ wall_s = 10, memory_mb = 256 }}
keys = [
  {{ kid = "ed", algorithm = "EdDSA", key = '''{PUBLIC}''' }},
  {{ kid = "hs", algorithm = "HS256", file = "secret.txt" }},
]

[[tenant]]
name = "shop"
audience = "code.shop.example"
keys = [{{ kid = "shop", algorithm = "HS256", key = "{SECRET}-of-the-shop" }}]
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "secret.txt").write_text(SECRET + "\n")
    file = tmp_path / "tenants.toml"
    file.write_text(FILE)
    return file


@pytest.fixture
def signed(path):
    return SignedTokens(Tenancy(str(path), CATALOGUE, asyncio.Event()), allowance_of)


def mint(key=PRIVATE, algorithm="EdDSA", kid="ed", **changes):
    """Sign a token; a claim that is None is left out."""
    claims = {"sub": "eve", "aud": "wsrunner", "exp": time.time() + 300, **changes}
    given = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(given, key, algorithm, headers={"kid": kid} if kid else None)


@pytest.mark.parametrize("how", [(PRIVATE, "EdDSA", "ed"), (SECRET, "HS256", "hs")])
def test_a_token_says_whose_it_is_and_narrows_what_that_user_may_have(signed, how):
    bearer = signed.bearer(
        mint(*how, languages=["py", "c"], limits={"wall_s": 60, "pids": 9}, room="r", mode="view")
    )
    assert (bearer.tenant.name, bearer.claims.sub) == ("school", "eve")
    assert (bearer.claims.room, bearer.claims.mode) == ("r", "view")
    assert bearer.may.languages == {"python"}
    assert bearer.may.limits == Limits(wall_s=10, memory_mb=256, pids=9)
    assert signed.bearer(mint(*how)).may.languages == {"python", "javascript"}


def unsigned(head, payload=None, signature=b"x"):
    """Put a token together by hand, as libraries refuse to."""
    payload = payload or {"sub": "eve", "aud": "wsrunner", "exp": time.time() + 300}
    parts = (json.dumps(head).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def with_the_public_key_as_secret():
    """The classical confusion: HS256 with what everybody may know (RFC 8725 section 2.1)."""
    import hashlib
    import hmac

    head = {"alg": "HS256", "typ": "JWT", "kid": "ed"}
    whole = unsigned(head).rpartition(".")[0]
    mac = hmac.new(PUBLIC.encode(), whole.encode(), hashlib.sha256).digest()
    return f"{whole}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (lambda: mint(exp=time.time() - LEEWAY_S - 1), "has expired"),
        (lambda: mint(nbf=time.time() + 60), "not valid yet"),
        (lambda: mint(exp=time.time() + 25 * 3600), "more than 86400 s ahead"),
        (lambda: mint(exp=None), "has no exp"),
        (lambda: mint(sub=None), "has no sub"),
        (lambda: mint(aud=None), "has no aud"),
        (lambda: mint(aud="other"), "its aud"),
        (lambda: mint(kid=None), "kid names none"),
        (lambda: mint(kid="unknown"), "kid names none"),
        (lambda: mint(OTHER), "signature is wrong"),
        (lambda: mint(SECRET + "x", "HS256", "hs"), "signature is wrong"),
        (lambda: mint(SECRET, "HS256", "ed"), "its alg"),
        (lambda: mint(PRIVATE, "EdDSA", "hs"), "its alg"),
        (lambda: mint(SECRET + "-of-the-shop", "HS256", "hs"), "signature is wrong"),
        (lambda: mint(SECRET + "-of-the-shop", "HS256", "shop"), "its aud"),
        (lambda: mint(RSA, "RS256", "ed"), "its alg"),
        (with_the_public_key_as_secret, "its alg"),
        (lambda: unsigned({"alg": "none", "kid": "ed"}), "its alg"),
        (lambda: unsigned({"alg": "none", "kid": "ed"}, signature=b""), "its alg"),
        (lambda: unsigned({"alg": "EdDSA", "kid": ["ed"]}), "it can't be read"),
        (lambda: unsigned({"alg": "EdDSA", "kid": "ed"}), "signature is wrong"),
        (lambda: "eyx.y.z", "it can't be read"),
        (lambda: mint(sub="e\nve"), "$.sub"),
        (lambda: mint(sub="e" * 129), "$.sub"),
        (lambda: mint(mode="own"), "$.mode"),
        (lambda: mint(limits={"wall": 1}), "$.limits"),
        (lambda: mint(languages=["cobol77"]), "languages"),
        (lambda: mint(room="r" * TOKEN_MAX), f"the limit is {TOKEN_MAX}"),
    ],
)
def test_what_is_wrong_with_a_token_is_said(signed, token, words):
    with pytest.raises(SignedTokenError) as caught:
        signed.bearer(token())
    assert words in str(caught.value)


def test_a_token_that_was_good_ends_when_it_says(path):
    now = [time.time()]
    tenancy = Tenancy(str(path), CATALOGUE, asyncio.Event())
    signed = SignedTokens(tenancy, allowance_of, lambda: now[0])
    token = mint()
    assert signed.bearer(token) is signed.bearer(token)
    now[0] += 300 + LEEWAY_S + 1
    with pytest.raises(SignedTokenError, match="expired"):
        signed.bearer(token)


def test_a_key_that_is_taken_away_counts_no_more(path):
    tenancy = Tenancy(str(path), CATALOGUE, asyncio.Event())
    signed = SignedTokens(tenancy, allowance_of)
    token = mint()
    signed.bearer(token)
    path.write_text(FILE.replace('kid = "ed"', 'kid = "next"'))
    tenancy.now = tenants.load(path, CATALOGUE)
    with pytest.raises(SignedTokenError, match="kid"):
        signed.bearer(token)
    assert signed.bearer(mint(kid="next")).tenant.name == "school"


@pytest.mark.parametrize(
    "key",
    [
        pem(RSA.public_key()),
        PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "-----BEGIN PUBLIC KEY-----\nxx\n-----END PUBLIC KEY-----",
    ],
)
def test_only_a_public_key_of_ed25519_is_taken_for_eddsa(tmp_path, key):
    (tmp_path / "key.pem").write_text(key)
    file = tmp_path / "tenants.toml"
    file.write_text(
        '[[tenant]]\nname = "a"\nkeys = [{ kid = "k", algorithm = "EdDSA", file = "key.pem" }]\n'
    )
    with pytest.raises(SetupError, match="public key"):
        tenants.load(file, CATALOGUE)


# Over the wire


@pytest.fixture
def server(start_server, path):
    return start_server(tenants=path, slots=1, warm_max=0)


def talk(server, token):
    return server.talk(additional_headers={"Authorization": f"Bearer {token}"})


async def test_users_of_one_tenant_take_turns(server):
    async with talk(server, mint()) as eve, talk(server, mint(sub="bob")) as bob:
        await eve.say("run", id="0", language="python", code="print(input())")
        await eve.hear_started(id="0")
        for name in "123":
            await eve.say("run", id=name, language="python", code="print(1)")
            await eve.hear_kind("queued", id=name)
        await bob.say("run", language="python", code="print(1)")
        assert (await bob.hear_kind("queued"))["position"] == 1
        await eve.say("stdin", id="0", data="x\n")
        await bob.finish()
        for name in "0123":
            await eve.finish(id=name)


async def test_a_user_who_has_used_up_its_own_keeps_nobody_from_theirs(start_server, path):
    path.write_text(
        FILE.replace(
            'name = "school"', 'name = "school"\nuser_sockets = 1\nuser_runs_per_minute = 1'
        )
    )
    server = start_server(tenants=path, warm_max=0)
    async with talk(server, mint()) as eve:
        assert (await eve.run("python", "print(1)")).stdout == "1\n"
        error = (await eve.run("python", "print(1)")).error
        assert (error["code"], error["message"]) == (
            "rate_limited",
            "this user has used its 1 run a minute",
        )
        with pytest.raises(InvalidStatus) as refused:
            async with talk(server, mint(exp=time.time() + 200)):
                pass
        assert refused.value.response.status_code == 429
        assert "this user has 1 socket open" in refused.value.response.body.decode()
        async with talk(server, mint(sub="bob")) as bob:
            assert (await bob.run("python", "print(2)")).stdout == "2\n"
    assert "eve" not in server.log.read_text()


async def test_who_may_only_watch_runs_nothing(server):
    async with talk(server, mint(mode="view")) as viewer:
        assert (await viewer.run("python", "1")).error["code"] == "not_allowed"


async def test_a_refusal_says_why_and_nothing_is_logged(server):
    token = mint(exp=time.time() - 60)
    with pytest.raises(InvalidStatus) as refused:
        async with talk(server, token):
            pass
    response = refused.value.response
    assert response.status_code == 401
    assert "it has expired" in response.body.decode()
    good = mint()
    async with talk(server, good) as eve:
        assert (await eve.run("python", "print(1)")).stdout == "1\n"
    until(lambda: "for tenant school" in server.log.read_text(), "the run is in the log")
    log = server.log.read_text()
    assert not any(part in log for part in (token, good, SECRET, "eve"))
