"""Programs whose interpreter or compiler was up before their source came: nothing tells it.

Each program runs twice, in a container that has started the language's command ahead and in one
that has not, and says the same. Programs are in ``tests/ahead``, a file for each language:
``=== name``, the main file, and ``--- file`` with each further file.
"""

import asyncio
import re
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.serving import docker, until
from tests.talk import PATIENCE_S
from wsrunner import languages
from wsrunner.engines.base import STDERR, STDOUT, Frame, Report
from wsrunner.engines.dialogue import bootstrap
from wsrunner.engines.docker.engine import DockerEngine
from wsrunner.runs.job import Job
from wsrunner.runs.order import make_order
from wsrunner.settings import UIDS, Settings

pytestmark = pytest.mark.docker

FOLDER = Path(__file__).parent / "ahead"
SETTINGS = Settings(ahead="all", cpu_s=20)
STDIN = "first line\nsecond grün\n\nlast without an end"
AT_ONCE = 4
RANDOM = re.compile(rb"0x[0-9a-f]{6,}|(?<=/tmp/main-)[0-9a-f]{6}|(?<=node:)[0-9]+(?=\))")
"""Addresses, clang's object files, process ids in Node's warnings: another at each run."""

# For each language: a comment that fills a line, and a program whose output shows its end.
LINES = {
    "c": ("// %s", '#include <stdio.h>\nint main(void) {\n  puts("end");\n  return 3;\n}\n'),
    "coffeescript": ("# %s", "console.log 'end'\nx.y\n"),
    "cpp": ("// %s", '#include <cstdio>\nint main() {\n  std::puts("end");\n  return 3;\n}\n'),
    "groovy": ("// %s", "println 'end'\nx.y\n"),
    "java": (
        "// %s",
        "class Main {\n  public static void main(String[] a) {\n    System.exit(3);\n  }\n}\n",
    ),
    "javascript": ("// %s", "console.log('end')\nx.y\n"),
    "php": ("// %s", "<?php\necho 'end';\nthrow new Exception;\n"),
    "python": ("# %s", "print('end')\nx.y\n"),
    "typescript": ("// %s", "console.log('end')\nconst wrong: number = 'x'\nx.y\n"),
}  # fmt: skip
LANGUAGES = sorted(LINES)


def programs(language):
    """Return name → files, the main file first: those written down, and some made of one."""
    found = {}
    main = languages.load().find(language).file
    text = (FOLDER / f"{language}.txt").read_text(encoding="utf-8")
    for part in text.split("=== ")[1:]:
        name, _, content = part.partition("\n")
        assert name not in found, f"{language} has two programs {name}"
        source, *beside = content.split("--- ")
        more = (each.partition("\n") for each in beside)
        found[name] = {main: source.encode()} | {file: text.encode() for file, _, text in more}
    comment, ending = LINES[language]
    begin = "<?php\n" if language == "php" else ""

    def long(size_bytes, width=80):
        line = comment % ("x" * width) + "\n"
        return f"{begin}{line * (size_bytes // len(line))}{ending.removeprefix(begin)}".encode()

    plain = ending.encode()
    made = {
        "empty": b"",
        "one newline": b"\n",
        "one letter": b"x",
        "no newline at the end": plain.rstrip(),
        "carriage returns": plain.replace(b"\n", b"\r\n"),
        "lone carriage returns": plain.replace(b"\n", b"\r"),
        "a byte order mark": b"\xef\xbb\xbf" + plain,
        "a byte that is no text": plain + b"\xff",
        "NUL": plain + b"\0",
        "control characters": plain + b"\x01\x04\x1a\x1e\n",
        "5 KB": long(5_000),
        "a pipe's buffer": long(59_000),
        "more than a pipe takes": long(100_000),
        # Of few lines: CoffeeScript takes time by the square of their number.
        "half a megabyte": long(500_000, width=8_000),
    }
    return found | {name: {main: source} for name, source in made.items()}


async def play(engine, box, plan):
    """Carry out a plan; return how its stages ended and its output, by stream."""
    container = await engine.start(box)
    try:
        container.begin(plan)
        container.write(STDIN.encode())
        container.write_eof()
        heard = []
        async with asyncio.timeout(5 * PATIENCE_S):  # TypeScript's compiler takes seconds of CPU
            while items := await container.read():
                heard += items
    finally:
        await container.destroy()
    ends = [(i.stage, i.code, i.signal) for i in heard if isinstance(i, Report)]
    output = (
        b"".join(i.data for i in heard if isinstance(i, Frame) and i.stream == stream)
        for stream in (STDOUT, STDERR)
    )
    return ends, *(RANDOM.sub(b"*", data) for data in output)


def _shown(outcome):
    """Return an outcome as lines, for a person to see what differs."""
    ends, *outputs = outcome
    return [str(ends), *(str(line) for output in outputs for line in output.splitlines())]


@pytest.fixture
async def engine():
    async with DockerEngine(instance="test-ahead", uids=UIDS) as engine:
        yield engine


@pytest.mark.timeout(1800)  # two containers for each of up to 170 programs
@pytest.mark.parametrize("language", LANGUAGES)
async def test_nothing_tells_whether_it_was_started_ahead(language, engine, need):
    image = need(language)
    catalogue = languages.load()
    turns = asyncio.Semaphore(AT_ONCE)
    different, taken = {}, []

    async def compare(name, files):
        order = make_order(
            Job(language, files=files), catalogue=catalogue, settings=SETTINGS, present={image: ""}
        )
        assert order.box.ahead is not None
        async with turns:
            expected = await play(engine, order.box.bare, order.plan)
            found = await play(engine, order.box, order.plan)
        if b"\ngive " in bootstrap.encode(order.plan, bootstrap.new_mark(), order.box.ahead):
            taken.append(name)
        if found != expected:
            different[name] = "\n".join(unified_diff(*map(_shown, (expected, found)), n=0))

    every = programs(language)
    async with asyncio.TaskGroup() as group:
        for name, files in every.items():
            group.create_task(compare(name, files))
    assert not different, "\n\n".join(f"{name}: {text}" for name, text in different.items())
    assert len(taken) > 0.6 * len(every)


def _processes(server):
    """Return the command lines of all that runs in the server's containers."""
    listed = [docker("top", container, "-o", "pid,args") for container in server.containers()]
    return [line.split(maxsplit=1)[1] for text in listed for line in text.splitlines()[1:]]


@pytest.mark.parametrize("ahead", ["local", "none"])
async def test_a_server_starts_it_in_its_warm_containers(ahead, start_server, need):
    assert need("python") == languages.load().find("python").local_image
    server = start_server(warm="python=1", ahead=ahead)
    until(lambda: server.metrics().get("wsrunner_pool_containers"), "a warm container")
    processes = _processes(server)
    assert any("wsrunner pipes" in line for line in processes)
    assert ("python main.py" in processes) is (ahead == "local")
    async with server.talk() as talk:
        outcome = await talk.run("python", "import sys; print(sys.argv, input())", stdin="in\n")
        assert (outcome.stdout, outcome.reason, outcome.code) == ("['main.py'] in\n", "exited", 0)
        # Whatever is there now, nobody gets less than what was asked for.
        outcome = await talk.run("python", "import sys; print(sys.argv)", args=["a"])
        assert outcome.stdout == "['main.py', 'a']\n"


PRELOADING = Settings(ahead="all", cpu_s=20, preload=("python=decimal", "python=no_such_module"))
LOOK = """\
import os, sys
print("decimal" in sys.modules, file=sys.stderr)
print(sys.argv, sys.path, sorted(os.environ.items()), os.listdir("."), os.listdir("/tmp"))
print(sys.orig_argv, sys.modules["sitecustomize"].__file__)
print(__file__, sorted(globals()), open("/proc/self/cmdline").read(), sys.stdin.read())
import decimal
print(decimal.Decimal(1) / 7)
x
"""


def _order(language, image, settings, **job):
    return make_order(
        Job(language, **job), catalogue=languages.load(), settings=settings, present={image: ""}
    )


async def test_modules_that_were_imported_ahead_are_all_that_tells_it(engine, need):
    order = _order("python", need("python"), PRELOADING, code=LOOK.encode())
    ends, output, errors = await play(engine, order.box.bare, order.plan)
    assert ends == [("run", 1, None)]
    assert errors.startswith(b"False\nTraceback")
    ahead = await play(engine, order.box, order.plan)
    assert ahead == (ends, output, errors.replace(b"False", b"True"))


def test_a_file_that_may_be_a_module_is_not_met_by_imported_ones():
    def serves(*names):
        files = {"main.py": b"", **dict.fromkeys(names, b"")}
        return _order("python", "wsrunner/python:debian", PRELOADING, files=files).plan.ahead

    assert serves()
    assert serves("data.csv", "picture.png")
    assert not any(serves(name) for name in ("random.py", "random.pyc", "a/b.txt", "x.so"))


@pytest.mark.parametrize("language", ["java", "typescript"])
async def test_a_starter_waits_for_its_source(language, engine, need):
    order = _order(language, need(language), SETTINGS, code=b"")
    for _ in range(3):  # on a machine that is very busy it may take too long, and is dropped
        container = await engine.start(order.box)
        try:
            listed = docker("top", container.id, "-o", "pid,args")
        finally:
            await container.destroy()
        if f"{order.box.ahead.file} {order.box.ahead.line}" in listed:
            return
    pytest.fail(listed)
