"""Give a program a terminal, change the size of its window, and type."""

import asyncio
import os

from wsrunner import Client

URL = os.environ.get("WSRUNNER_URL", "ws://127.0.0.1:8001")
PROGRAM = """
import os, signal

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
print(*os.get_terminal_size())
while os.get_terminal_size().columns == 80:
    signal.sigwait({signal.SIGWINCH})
print(*os.get_terminal_size())
print("Hello,", input("Your name? "))
"""


async def main() -> None:
    """Show what the program's terminal shows: prompts, and the echo of what is typed."""
    async with Client(URL) as client:
        run = await client.run("python", code=PROGRAM, tty=(80, 24))
        shown = ""
        async for output in run:
            # Line ends are "\r\n" here; a terminal would be given the bytes as they are.
            shown += output.data.decode()
            if shown == "80 24\r\n":
                await run.resize(120, 40)
            # A new size goes another way than keys do: what needs it first waits for its effect.
            elif shown.endswith("Your name? "):
                await run.stdin("Ada\r")  # the key Enter sends "\r"
        print(shown.replace("\r\n", "\n"), end="")


asyncio.run(main())
