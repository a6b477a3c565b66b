"""A real engine for tests: an error under CI=true if there is none, a skip elsewhere."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from wsrunner import languages
from wsrunner.engines.docker import images as docker_images
from wsrunner.errors import EngineUnavailableError
from wsrunner.settings import UIDS

PROGRAMS = Path(__file__).parent / "programs"
REQUIRED = [
    "bash", "c", "coffeescript", "cpp", "go", "java", "javascript", "lua", "perl", "php", "python",
    "ruby", "typescript",
]  # fmt: skip
"""The languages that tests run; `make languages` tries all of them."""

# As the server starts its containers, so that what runs here runs there. The number is any of those
# that it gives out.
USER = UIDS[0]
LIMITS = (
    "--rm",
    "--interactive",
    "--read-only",
    "--network=none",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    f"--user={USER}:{USER}",
    "--workdir=/home/glot",
    "--memory=512m",
    "--memory-swap=512m",
    "--pids-limit=128",
    "--log-driver=none",
    "--tmpfs=/tmp:rw,nosuid,nodev,noexec,size=64m",
    f"--tmpfs=/home/glot:rw,nosuid,nodev,exec,size=128m,uid={USER},gid={USER}",
)


def absent(what):
    """Skip the test for want of `what`; fail it under CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI=true")
    pytest.skip(f"{what} is missing")


def engine_images():
    """Return the images of the engine that answers."""

    async def ask():
        async with docker_images.connect() as docker:
            return await docker_images.images(docker)

    try:
        return asyncio.run(ask())
    except EngineUnavailableError:
        absent("a container engine")


def image_of(language):
    """Return the image for a language, by id."""
    found = languages.load().find(language)
    image = found.choose(engine_images())
    return image or absent(f"an image for {language}")


def program(language, name):
    """Return the source of a sample program."""
    (path,) = (PROGRAMS / language).glob(f"{name}.*")
    return path.read_text()


def start(language, files, *, stdin=subprocess.PIPE):
    """Build and run files in a plain container with the limits; return the Popen.

    The files are written by the shell line itself, so that stdin belongs to the program.
    """
    found = languages.load().find(language)
    commands = found.commands(list(files))
    names = [f"-e=F{i}={name}" for i, name in enumerate(files)]
    contents = [f"-e=C{i}={text}" for i, text in enumerate(files.values())]
    write = [
        f'mkdir -p "$(dirname "$F{i}")"; printf %s "$C{i}" >"$F{i}"; unset F{i} C{i}'
        for i in range(len(files))
    ]
    builds = [f"{{ {line}; }} </dev/null >&2 || exit 99" for line in commands.build]
    script = "\n".join([*write, *builds, f"exec {commands.run}"])
    env = [f"-e={key}={value}" for key, value in found.env.items()]
    return subprocess.Popen(
        [
            "docker", "run", *LIMITS, *names, *contents, *env,
            image_of(language), "sh", "-c", script,
        ],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
