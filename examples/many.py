"""Start many runs at once over one socket; the server's slots decide how many go at a time."""

import asyncio
import os

from wsrunner import Client, RunRefusedError

URL = os.environ.get("WSRUNNER_URL", "ws://127.0.0.1:8001")
RUNS = 12


async def square(client: Client, number: int) -> None:
    """Let a container square a number."""
    try:
        done = await client.collect(
            "python", code="import sys; print(int(sys.argv[1]) ** 2)", args=[str(number)]
        )
    except RunRefusedError as exc:
        # A full queue, say: `exc.retry_after_s` tells when it is worth another try.
        print(f"{number}: refused, {exc.code}")
        return
    print(f"{number} squared is {done.stdout.decode().strip()}")


async def main() -> None:
    """Start them all; their results come in the order in which they end."""
    async with Client(URL) as client, asyncio.TaskGroup() as group:
        for number in range(1, RUNS + 1):
            group.create_task(square(client, number))


asyncio.run(main())
