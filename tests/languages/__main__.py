"""``make languages``: build every language's image and try the language, or those that are named.

Writes what it found to ``results.json`` language by language, so that a later call goes on where
this one was stopped (``LANGUAGES="ruby nim"``), and ``docs/languages.md`` from all results.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.languages import checks, table
from tests.serving import Serving, docker
from wsrunner import languages
from wsrunner.errors import SetupError
from wsrunner.images import progress, supply


async def image_for(catalogue, language, display, *, keep):
    """Return the image for a language, built first if it is missing or, unless kept, outdated."""
    async with supply.engine() as engine:
        present = await supply.docker_images.images(engine)
        listed = supply.statuses(catalogue, present)
        (found,) = [status for status in listed if status.language is language]
        if found.image and (keep or not found.outdated):
            return found.image
        await supply.build(engine, catalogue, [language], display)
        return language.local_image


def version_of(image, language):
    """Return the first line of what the toolchain says of its version."""
    told = docker("run", "--rm", "--network=none", image, "sh", "-c", language.version, check=False)
    return next((line.strip() for line in told.splitlines() if line.strip()), "")


async def examine(url, catalogue, language, display, *, keep):
    """Return what is to be kept of a language."""
    image = await image_for(catalogue, language, display, keep=keep)
    display.say(f"{language.id}: {image}")
    case = checks.Case(url, language)
    found = {}
    for name, check in checks.CHECKS.items():
        begun_s = time.monotonic()
        found[name] = await checks.attempt(check, case)
        took = f"({time.monotonic() - begun_s:.1f} s)"
        display.say(f"{language.id}: {name}: {found[name]} {took}")
    return {"image": image, "version": version_of(image, language), "checks": found}


async def examine_all(url, catalogue, chosen, *, keep):
    """Examine the languages and write after each; return those that differ from what is known."""
    surprising = []
    with progress.show() as display:
        for at, language in enumerate(chosen, 1):
            display.say(f"{language.id} ({at} of {len(chosen)})")
            try:
                result = await examine(url, catalogue, language, display, keep=keep)
            except SetupError as exc:
                display.say(f"{language.id}: {exc}")
                surprising.append(language.id)
                continue
            if table.surprises(language, result):
                surprising.append(language.id)
            table.write(catalogue, table.results() | {language.id: result})
    return surprising


def main():
    """Examine the languages named, or all that can be built."""
    parser = argparse.ArgumentParser(prog="python -m tests.languages", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="LANGUAGE")
    parser.add_argument("--missing", action="store_true", help="only those without a result")
    parser.add_argument("--keep", action="store_true", help="use outdated images as they are")
    asked = parser.parse_args()
    catalogue = languages.load()
    chosen = supply.select(catalogue, asked.names) if asked.names else list(catalogue)
    chosen = [one for one in chosen if one.local_image]
    if asked.missing:
        chosen = [one for one in chosen if one.id not in table.results()]
    with tempfile.TemporaryDirectory() as folder:
        server = Serving(Path(folder) / "log", slots=2, warm_max=0).start()
        try:
            surprising = asyncio.run(examine_all(server.url, catalogue, chosen, keep=asked.keep))
        finally:
            server.stop()
    if surprising:
        sys.stderr.write(f"otherwise than known: {', '.join(surprising)}\n")
    return 1 if surprising else 0


if __name__ == "__main__":
    sys.exit(main())
