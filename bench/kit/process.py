"""Processes of the host, as the baseline of runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.kit.engine import RawEngine
from bench.kit.timing import Timing


@contextlib.contextmanager
def image_root(engine: RawEngine, image: str) -> Iterator[Path | None]:
    """Mount an image's files for a process of the host, so that both run the same programs.

    Yields None where that can't be: not root, or images are not kept by overlay2 on this machine.
    """
    driver = engine.call("GET", f"/images/{image}/json")["GraphDriver"]
    layers = [driver["Data"].get(key) for key in ("UpperDir", "LowerDir")]
    if driver["Name"] != "overlay2" or os.geteuid() or not Path(layers[0]).is_dir():
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        root, upper, work = (Path(folder, name) for name in ("root", "upper", "work"))
        for path in (root, upper, work):
            path.mkdir()
        lower = ":".join(filter(None, layers))

        def mount(where: Path, *words: str) -> None:
            subprocess.run(["mount", *words, where], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", where], check=True)

        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mount(root, "-t", "overlay", "-o", options, "overlay")
        mount(root / "proc", "-t", "proc", "proc")
        mount(root / "dev", "--bind", "/dev")
        # The work directory is in memory, as that of a run.
        mount(root / "srv", "-t", "tmpfs", "tmpfs")
        yield root


def run_bare(commands: Sequence[Sequence[str]], folder: Path, env: dict[str, str]) -> Timing:
    """Run commands one after the other on the host; the last one's first line, and its end."""
    begun_s = time.perf_counter()
    for command in commands[:-1]:
        subprocess.run(command, cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL)
    process = subprocess.Popen(
        commands[-1], cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    first_s = time.perf_counter() - begun_s
    process.stdout.read()
    code = process.wait()
    end_s = time.perf_counter() - begun_s
    process.stdin.close()
    process.stdout.close()
    if code:
        raise RuntimeError(f"{commands[-1]} ended with {code}")
    return Timing(first_s, end_s)
