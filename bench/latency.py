"""How long until the first line, and until the end is known, as the client sees it.

Six ways to the same output, taken in turns: the bare process on the host; wsrunner with a warm
container; wsrunner with a cold one; the engine's own calls in their best order (create, attach,
start, write, read); `docker run --rm`; and the original service's way (everything at the end of the
container). Then Poisson arrivals: what waiting in the queue adds at a share of the highest rate.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench import kit
from bench.kit import Figure, Timing

NAME = "latency"
HELP = "first line and exit, warm and cold, against the bare process, the engine and docker run"

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOADS = (0.25, 0.5, 0.75)
MS = 1e3
DROWNED = 5.0
LEARNING_S = 10.0


class Program(NamedTuple):
    """One program.

    Attributes:
        language: Its id.
        file: The main file's name.
        code: Its content; prints one line.
        commands: What the catalogue does with it, for a process of the host.
        tool: The command whose version says what it is.
        env: What the catalogue sets for it.
        of_image: Whether the host's own tool would not do.
    """

    language: str
    file: str
    code: str
    commands: tuple[tuple[str, ...], ...]
    tool: str
    env: dict[str, str]
    of_image: bool = False


PROGRAMS = (
    Program(
        "python",
        "main.py",
        'print("hello")\n',
        (("python3", "main.py"),),
        "python3",
        {"PYTHONUNBUFFERED": "1"},
    ),
    Program("javascript", "main.js", 'console.log("hello")\n', (("node", "main.js"),), "node", {}),
    Program(
        "c",
        "main.c",
        '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n',
        (("clang", "-o", "a.out", "-lm", "main.c"), ("stdbuf", "-i0", "-oL", "./a.out")),
        "clang",
        {},
    ),
)


def run(out: Path, *, quick: bool = False, runs: int | None = None) -> dict[str, Any]:
    """Measure; see the module."""
    del out
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    engine = kit.RawEngine()
    for program in PROGRAMS:
        rounds = runs or (5 if quick else 20 if program.language == "python" else 8)
        found, series, tool = _compare_ways(program, rounds, engine)
        figures += found
        raw[program.language] = {"milliseconds": series, "bare": tool}
    found, raw["arrivals"] = _arrive(4 if quick else 40, engine)
    return kit.result(figures + found, **raw)


def _compare_ways(
    program: Program, rounds: int, engine: kit.RawEngine
) -> tuple[list[Figure], dict[str, Any], str]:
    order = engine.order(language=program.language, code=program.code)
    request = {"language": program.language, "code": program.code}
    cold_server = kit.Server(warm_max=0)
    warm_server = kit.Server(warm=f"{program.language}=1")
    with (
        on_host(program, order.box.image, engine) as (bare, tool),
        cold_server,
        warm_server,
        kit.Socket(cold_server.port) as cold,
        kit.Socket(warm_server.port) as warm,
    ):

        def take_warm() -> Timing:
            warm_server.settle(engine, order.box.image, 1)
            return warm.run(**request)

        def take_cold() -> Timing:
            timing = cold.run(**request)
            cold_server.settle(engine)
            return timing

        ways: dict[str, Callable[[], Timing]] = {
            "warm": take_warm,
            "cold": take_cold,
            "engine": lambda: engine.run(order),
            "original": lambda: engine.run(order, to_the_end=True),
        }
        if bare is not None:
            ways["bare"] = bare
        if shutil.which("docker"):
            ways["docker run"] = lambda: _docker_run(program, order.box.image)

        series = kit.take_in_turns(rounds, ways, say=program.language)
    return _figures(program.language, series, tool), milliseconds(series), tool


@contextlib.contextmanager
def on_host(
    program: Program, image: str, engine: kit.RawEngine
) -> Iterator[tuple[Callable[[], Timing] | None, str]]:
    """Yield how to run it as a process of the host, and with what.

    With the host's own tool if that is the image's version, else with the image's files and no
    container around them (chroot, which adds 1 ms).
    """
    env = {"PATH": PATH, "HOME": "/tmp", "LANG": "C.UTF-8"} | program.env
    asked = (
        subprocess.run(
            ["docker", "run", "--rm", "--network=none", image, program.tool, "--version"],
            capture_output=True,
            text=True,
            check=False,
        )
        if shutil.which("docker")
        else None
    )
    wanted = asked.stdout.partition("\n")[0] if asked else "unknown"
    tool = shutil.which(program.tool, path=PATH)
    if tool is not None and not program.of_image:
        own = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
        if own.stdout.partition("\n")[0] == wanted:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, program.file).write_text(program.code)
                commands = [
                    (shutil.which(name, path=PATH) or name, *rest)
                    for name, *rest in program.commands
                ]
                yield (lambda: kit.run_bare(commands, Path(folder), env)), f"{wanted} of the host"
            return
    with kit.image_root(engine, image) as root:
        if root is None:
            yield None, f"no {wanted} on the host"
            return
        (root / "srv" / program.file).write_text(program.code)
        enter = ("/usr/sbin/chroot", str(root), "/usr/bin/env", "--chdir=/srv")
        commands = [(*enter, *command) for command in program.commands]
        yield (lambda: kit.run_bare(commands, root, env)), f"{wanted} of the image, by chroot"


def _docker_run(program: Program, image: str) -> Timing:
    line = {
        "python": 'printf %s "$0" >/tmp/x; exec python3 -u /tmp/x',
        "javascript": 'printf %s "$0" >/tmp/x; exec node /tmp/x',
        "c": 'cd /root; printf %s "$0" >x.c; clang -o a.out -lm x.c && exec ./a.out',
    }[program.language]
    flags = ["--rm", "--network=none", "--log-driver=none", "--user=0"]
    command = ["docker", "run", *flags, image, "sh", "-c", line, program.code]
    return kit.run_bare([command], Path("/"), kit.environment())


def milliseconds(series: dict[str, list[Timing]]) -> dict[str, Any]:
    return {
        name: {
            "first_line": [round(timing.first_s * MS, 2) for timing in timings],
            "exit": [round(timing.end_s * MS, 2) for timing in timings],
        }
        for name, timings in series.items()
    }


def _figures(language: str, series: dict[str, list[Timing]], tool: str) -> list[Figure]:
    values = {
        (name, moment): [getattr(timing, f"{moment}_s") * MS for timing in timings]
        for name, timings in series.items()
        for moment in ("first", "end")
    }
    rows = [
        ("warm", "first", "bare", 0.3),
        ("warm", "end", "bare", 0.6),
        ("cold", "first", "engine", 1.15),
        ("cold", "end", "engine", 1.15),
        ("warm", "end", "docker run", None),
        ("warm", "end", "original", None),
        ("cold", "end", "original", None),
    ]
    names = {"first": "first line", "end": "exit"}
    return [
        kit.compare(
            f"{language} {way}, {names[moment]}",
            "ms",
            values[way, moment],
            base,
            values[base, moment],
            most=most if language == "python" or base == "engine" else None,
            note=tool if base == "bare" else "",
        )
        for way, moment, base, most in rows
        if (base, moment) in values
    ]


# Arrivals.


def _arrive(seconds: float, engine: kit.RawEngine) -> tuple[list[Figure], dict[str, Any]]:
    """Find the highest rate, then offer shares of it at random moments, whoever is waiting."""
    image = engine.order(language="python", code="").box.image
    with kit.Server(warm="python=4") as server:
        server.settle(engine, image, 1)
        highest = _highest_rate(server, max(4.0, seconds / 2))
        figures = []
        raw: dict[str, Any] = {"highest_per_s": round(highest, 2)}
        for load in LOADS:
            server.settle(engine)
            kit.progress(f"arrivals at {load:.0%} of {highest:.1f}/s")
            # The pool learns what is asked for; what that costs is not what this asks.
            _offer(server, load * highest, LEARNING_S)
            lines, ends = _offer(server, load * highest, seconds)
            facts, exits = kit.summary(lines), kit.summary(ends)
            raw[f"{load:.0%}"] = {"first_line_ms": facts, "exit_ms": exits}
            calm = raw[f"{LOADS[0]:.0%}"]["first_line_ms"]["median"]
            # Where even the median waited in the queue, both figures tell of the queue alone.
            drowned = facts["median"] > DROWNED * calm
            figures.append(
                Figure(
                    f"python arrivals at {load:.0%} of {highest:.1f}/s, first line p99",
                    "ms",
                    facts["p99"],
                    None,
                    "its p50",
                    facts["median"],
                    facts["p99"] / facts["median"],
                    most=3.0 if load == 0.5 and not drowned else None,
                    note=f"n = {facts['n']}" + ", not judged: the machine had no room" * drowned,
                )
            )
    kit.progress("")
    return figures, raw


def _highest_rate(server: kit.Server, seconds: float) -> float:
    """Return exits a second with more runs outstanding than there are slots."""
    with kit.Socket(server.port) as client:
        for index in range(12):
            client.send(type="run", id=str(index), language="python", code='print("hello")')
        ends: list[float] = []
        begun_s = time.perf_counter()
        while time.perf_counter() - begun_s < seconds:
            message = client.receive()
            if message.startswith(b'{"type":"exit"'):
                ends.append(time.perf_counter())
                again = f"x{len(ends)}"
                client.send(type="run", id=again, language="python", code='print("hello")')
    # The first ones found warm containers.
    later = ends[4:]
    return (len(later) - 1) / (later[-1] - later[0])


def _offer(server: kit.Server, per_s: float, seconds: float) -> tuple[list[float], list[float]]:
    """Return milliseconds from the intended arrival to first line and exit."""
    chance = random.Random(1)
    due_s: dict[str, float] = {}
    lines: dict[str, float] = {}
    ends: dict[str, float] = {}
    client = kit.Socket(server.port)
    complete = threading.Event()

    def listen() -> None:
        while not (complete.is_set() and len(ends) == len(due_s)):
            message = client.receive()
            now_s = time.perf_counter()
            name = message.partition(b'"id":"')[2].partition(b'"')[0].decode()
            if message.startswith(b'{"type":"stdout"'):
                lines.setdefault(name, now_s)
            elif message.startswith((b'{"type":"exit"', b'{"type":"error"')):
                ends[name] = now_s

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    at_s = begun_s = time.perf_counter()
    while True:
        at_s += chance.expovariate(per_s)
        if at_s - begun_s > seconds and len(due_s) >= 5:
            break
        time.sleep(max(0.0, at_s - time.perf_counter()))
        name = str(len(due_s))
        due_s[name] = at_s
        client.send(type="run", id=name, language="python", code='print("hello")')
    complete.set()
    client.ping()
    listener.join(60)
    client.close()
    return (
        [(at - due_s[name]) * MS for name, at in lines.items()],
        [(at - due_s[name]) * MS for name, at in ends.items()],
    )
