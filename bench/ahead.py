"""What it gains that an interpreter or compiler is up before its source comes.

Three ways to the same output, taken in turns: the bare process on the host; wsrunner with a warm
container that has started the command ahead; and with one that has not.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import kit, latency
from bench.kit import Figure, Timing
from bench.latency import MS, Program

NAME = "ahead"
HELP = "first line and exit of a program whose interpreter was up, against the bare process"

PROGRAMS = (
    *latency.PROGRAMS,
    Program("php", "main.php", '<?php echo "hello\\n";', (("php", "main.php"),), "php", {}),
    Program(
        "cpp",
        "main.cpp",
        '#include <iostream>\nint main() { std::cout << "hello" << std::endl; }\n',
        (
            ("clang++", "-std=c++20", "-o", "a.out", "main.cpp"),
            ("stdbuf", "-i0", "-oL", "./a.out"),
        ),
        "clang++",
        {},
    ),
    Program(
        "coffeescript",
        "main.coffee",
        'console.log "hello"\n',
        (("coffee", "main.coffee"),),
        "coffee",
        {},
    ),
    Program(
        "java",
        "Main.java",
        """class Main {
    public static void main(String[] args) { System.out.println("hello"); }
}
""",
        (("javac", "-d", ".", "Main.java"), ("java", "Main")),
        "javac",
        {},
    ),
    Program(
        "typescript",
        "main.ts",
        "const greeting: string = 'hello'\nconsole.log(greeting)\n",
        (("tsc", "main.ts"), ("node", "main.js")),
        "tsc",
        {},
    ),
    Program(
        "groovy", "main.groovy", 'println "hello"\n', (("groovy", "main.groovy"),), "groovy", {}
    ),
)
NUMPY = Program(
    "python",
    "main.py",
    "import numpy\nprint(numpy.arange(3).sum())\n",
    (("python3", "main.py"),),
    "python3",
    {"PYTHONUNBUFFERED": "1"},
    of_image=True,
)
AIMS = {
    "numpy": (0.1, None),
    "java": (0.6, None),
    "typescript": (0.6, None),
    "python": (0.3, 0.6),
    "javascript": (0.3, 0.6),
    "php": (0.3, 0.6),
    "coffeescript": (0.4, None),
    "groovy": (0.4, None),
    "c": (0.6, None),
    "cpp": (0.6, None),
}
"""The most that first line and exit may be of the bare process's."""


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module."""
    del out
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    engine = kit.RawEngine()
    rounds = runs or (5 if quick else 15)
    for program in PROGRAMS:
        series, tool = _compare(program, rounds, engine)
        figures += _figures(program.language, series, tool)
        raw[program.language] = {"milliseconds": latency.milliseconds(series), "bare": tool}
    if _has_numpy(engine):
        series, tool = _compare(NUMPY, rounds, engine, preload="python=numpy")
        figures += _figures("numpy", series, tool)
        raw["numpy"] = {"milliseconds": latency.milliseconds(series), "bare": tool}
    return kit.result(figures, **raw)


def _has_numpy(engine: kit.RawEngine) -> bool:
    """Whether Python's image has it, see the README."""
    image = engine.order(language="python", code="").box.image
    command = ["docker", "run", "--rm", "--network=none", image, "python3", "-c", "import numpy"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _compare(
    program: Program, rounds: int, engine: kit.RawEngine, **options: str
) -> tuple[dict[str, list[Timing]], str]:
    image = engine.order(language=program.language, code=program.code).box.image
    request = {"language": program.language, "code": program.code}
    servers = {
        ahead: kit.Server(warm=f"{program.language}=1", ahead=ahead, **options)
        for ahead in ("local", "none")
    }
    with (
        latency.on_host(program, image, engine) as (bare, tool),
        servers["local"],
        servers["none"],
        kit.Socket(servers["local"].port) as started,
        kit.Socket(servers["none"].port) as warm,
    ):

        def take(ahead: str, client: kit.Socket) -> Timing:
            servers[ahead].settle(engine, image, 1)
            return client.run(**request)

        ways: dict[str, Callable[[], Timing]] = {
            "ahead": lambda: take("local", started),
            "warm": lambda: take("none", warm),
        }
        if bare is not None:
            ways["bare"] = bare

        series = kit.take_in_turns(rounds, ways, say=program.language)
    return series, tool


def _figures(language: str, series: dict[str, list[Timing]], tool: str) -> list[Figure]:
    rows = []
    for moment, name, most in zip(
        ("first_s", "end_s"), ("first line", "exit"), AIMS[language], strict=True
    ):
        values = {way: [getattr(timing, moment) * MS for timing in series[way]] for way in series}
        for base in ("bare", "warm"):
            if base in values:
                aims = {"most": most, "note": tool} if base == "bare" else {}
                what = f"{language}, {name}"
                rows.append(
                    kit.compare(what, "ms", values["ahead"], base, values[base], **aims)  # type: ignore[arg-type]
                )
    return rows
