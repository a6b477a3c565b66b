"""Run a program and take all it printed."""

import asyncio
import os

from wsrunner import Client

URL = os.environ.get("WSRUNNER_URL", "ws://127.0.0.1:8001")


async def main() -> None:
    """Say hello from a container."""
    async with Client(URL) as client:
        done = await client.collect("python", code="print('Hello,', input())", stdin="Ada\n")
        print(done.stdout.decode(), end="")
        # A program that fails raises nothing here: its exit says how it ended.
        print(done.exit.reason, done.exit.code)


asyncio.run(main())
