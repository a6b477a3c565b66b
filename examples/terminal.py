"""Give a program a terminal, and change the size of its window while it runs."""

import asyncio
import os

from wsrunner import Client

URL = os.environ.get("WSRUNNER_URL", "ws://127.0.0.1:8001")
PROGRAM = """
stty size
read -rp "Resize, then press Enter "
stty size
"""


async def main() -> None:
    """Show what the program's terminal shows: prompts, the echo of what is typed, colours."""
    async with Client(URL) as client:
        run = await client.run("bash", code=PROGRAM, tty=(80, 24))
        shown = ""
        async for output in run:
            # Bytes of a terminal may stop anywhere; write them as they are to one of your own.
            shown += output.data.decode()
            if shown.endswith("press Enter "):
                await run.resize(120, 40)
                await run.stdin("\r")  # what the key Enter sends
        print(shown.replace("\r\n", "\n"), end="")


asyncio.run(main())
