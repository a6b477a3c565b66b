"""What it costs to know who asks, and how fair the slots then are shared.

The token checks are those of `serving.access`, in this process; the shares those of the gate in
memory, whose rounds Redis has too. No server, no engine.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.kit import Figure
from wsrunner import languages, tenants
from wsrunner.gates.base import Shares, Ticket
from wsrunner.gates.lanes import Line
from wsrunner.serving.access import Access
from wsrunner.serving.tenancy import Tenancy
from wsrunner.serving.tickets import Tickets
from wsrunner.settings import Settings

NAME = "trust"
HELP = "token checks, and how equal the shares of users with unequal demand are"

ROUNDS = 2000
TENANTS = 1000
USERS = 50
SECRET = "a-secret-of-at-least-thirty-two-bytes"


def tenants_file(folder: Path, private: Ed25519PrivateKey) -> Path:
    """Write a file of many tenants, the first of whom has a token and two keys."""
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    tables = [
        f'[[tenant]]\nname = "t{number}"\ntokens = ["{tenants.hash_of(f"wsr_{number}")}"]\n'
        for number in range(TENANTS)
    ]
    tables.append(
        '[[tenant]]\nname = "signer"\nkeys = [\n'
        f"{{ kid = \"ed\", algorithm = \"EdDSA\", key = '''{public.decode()}''' }},\n"
        f'{{ kid = "hs", algorithm = "HS256", key = "{SECRET}" }}]\n'
    )
    file = folder / "tenants.toml"
    file.write_text("\n".join(tables), encoding="utf-8")
    return file


def timed(access: Access, token_of: Callable[[int], str], rounds: int) -> list[float]:
    """Return what each check took, in milliseconds."""
    times = []
    for number in range(rounds):
        given = {"X-Access-Token": [token_of(number)]}

        def values(name: str, given: dict[str, list[str]] = given) -> list[str]:
            return given.get(name, [])

        begun = time.perf_counter()
        access.user(values, "192.0.2.1")
        times.append((time.perf_counter() - begun) * 1e3)
    return times


def checks(rounds: int) -> list[Figure]:
    """Return what the checks of tokens take."""
    private = Ed25519PrivateKey.generate()

    def signed(number: int, key: Any, algorithm: str, kid: str) -> str:
        claims = {"sub": f"u{number}", "aud": "wsrunner", "exp": time.time() + 300}
        return jwt.encode(claims, key, algorithm, headers={"kid": kid})

    with tempfile.TemporaryDirectory() as folder:
        file = tenants_file(Path(folder), private)
        tenancy = Tenancy(str(file), languages.load(), asyncio.Event())
        access = Access(Settings(tenants=str(file)), tenancy, Tickets(None))
        same = signed(0, private, "EdDSA", "ed")
        ways: dict[str, tuple[Callable[[int], str], float | None]] = {
            f"a tenant's token, of {TENANTS:,}": (lambda number: f"wsr_{number % TENANTS}", 0.1),
            "a signed token seen before": (lambda _: same, 0.1),
            "a signed token seen for the first time, HS256": (
                lambda number: signed(number, SECRET, "HS256", "hs"),
                0.1,
            ),
            "a signed token seen for the first time, EdDSA": (
                lambda number: signed(number, private, "EdDSA", "ed"),
                None,
            ),
        }
        figures = []
        for what, (token_of, most) in ways.items():
            taken = timed(access, token_of, rounds)
            low, median, high = statistics.quantiles(taken, n=4)
            figures.append(Figure(what, "ms", median, (low, high), most=most))
    return figures


def jains_index(served: Counter[str]) -> float:
    """Return how equal the shares are: 1 if they all are (R. Jain et al., DEC-TR-301, 1984)."""
    squares = sum(count**2 for count in served.values())
    return served.total() ** 2 / (USERS * squares)


def shares(rounds: int) -> list[Figure]:
    """Let users with one to twenty times the demand share eight slots."""
    line = Line(8, 10**6, {}, Shares())
    dice = random.Random(1)
    running = []
    for user in range(USERS):
        for number in range(rounds * (1 + user * 19 // USERS)):
            entry = line.enter(Ticket(f"{user}-{number}", user=str(user)))
            if entry.fence:
                running.append(entry.ticket.id)
    served: Counter[str] = Counter()
    # While even the one with the least demand has runs in the queue.
    while served.total() < USERS * rounds * 0.8:
        line.leave(running.pop(dice.randrange(len(running))))
        for entry in line.grants():
            served[entry.ticket.user] += 1
            running.append(entry.ticket.id)
    note = f"{USERS} users"
    return [Figure("Jain's index of slots", "of 1", jains_index(served), least=0.99, note=note)]


def run(out: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure; see the module."""
    del out
    rounds = ROUNDS // 10 if quick else ROUNDS
    figures = checks(rounds) + shares(max(rounds // 20, 20))
    return {"figures": [figure.as_json() for figure in figures]}
