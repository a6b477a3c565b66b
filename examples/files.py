"""Files that a program makes come back: here a drawing, as an SVG."""

import asyncio
import os

from wsrunner import Client

URL = os.environ.get("WSRUNNER_URL", "ws://127.0.0.1:8001")
PROGRAM = """
bars = [3, 7, 5, 9]
drawn = "".join(
    f'<rect x="{20 * at}" y="{100 - 10 * size}" width="15" height="{10 * size}"/>'
    for at, size in enumerate(bars)
)
with open("bars.svg", "w") as file:
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 80 100">{drawn}</svg>')
"""


async def main() -> None:
    """Draw bars and take the drawing."""
    async with Client(URL) as client:
        done = await client.collect("python", code=PROGRAM, outputs=["*.svg"])
        for file in done.files:
            # To write it, see `wsrunner run --out`: a name is the program's own choice.
            print(file.name, file.media_type, len(file.content), "bytes")


asyncio.run(main())
