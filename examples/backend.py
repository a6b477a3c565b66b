"""Sign a token for one of your users, who runs a program with it.

The first half is your backend's, which has the private key of a tenant (docs/tenants.md); the
second one is what the user's client does, which never sees it.
"""

import asyncio
import os
import time
from pathlib import Path

import jwt  # PyJWT

from wsrunner import Client

URL = os.environ.get("WSRUNNER_URL", "ws://127.0.0.1:8001")
KEY = Path(os.environ.get("BACKEND_KEY", "private.pem"))


def token_for(user: str) -> str:
    """Return what lets a user run Python for five minutes, and nothing else."""
    claims = {
        "sub": user,
        "aud": "wsrunner",
        "exp": time.time() + 300,
        "languages": ["python"],
        "limits": {"wall_s": 5},
    }
    return jwt.encode(claims, KEY.read_text(), "EdDSA", headers={"kid": "backend"})


async def main(token: str) -> None:
    """Run something as that user."""
    async with Client(URL, token=token) as client:
        done = await client.collect("python", code="print('signed')")
        print(done.stdout.decode(), end="")
        print(done.exit.reason, done.exit.code)


asyncio.run(main(token_for("eve")))
