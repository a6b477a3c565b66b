"""Talk with a program while it runs: it asks for guesses, and is answered."""

import asyncio
import os

from wsrunner import Client

URL = os.environ.get("WSRUNNER_URL", "ws://127.0.0.1:8001")
PROMPT = "Guess? "
GAME = f"""
while (guess := int(input("{PROMPT}"))) != 37:
    print("too low" if guess < 37 else "too high")
print("right")
"""


async def main() -> None:
    """Halve what is left between 1 and 100 until the guess is right."""
    low, high, guess = 1, 100, 0
    async with Client(URL) as client:
        # Without `stdin` the program's stdin stays open, so that answers can follow.
        run = await client.run("python", code=GAME, limits={"wall_s": 30})
        said = ""
        async for output in run:
            # A prompt comes as soon as it is written, but no piece promises to be all of it.
            said += output.data.decode()
            if said.endswith(PROMPT):
                if said.startswith("too low"):
                    low = guess + 1
                elif said.startswith("too high"):
                    high = guess - 1
                guess = (low + high) // 2
                print(f"{said}{guess}")
                await run.stdin(f"{guess}\n")
                said = ""
        print(said, end="")
        print((await run.exit()).reason)


asyncio.run(main())
