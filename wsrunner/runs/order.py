"""What a job asks for, checked: an order that a run can carry out.

Owns the merge of a job with the catalogue, the server's limits and the images that are
present. Pure: no I/O.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from wsrunner import starters
from wsrunner.engines.base import Ahead, Box, Plan
from wsrunner.errors import ImageMissingError, LimitOutOfRangeError, SpaceUnfitError
from wsrunner.languages import Catalogue, Language
from wsrunner.runs.job import Job, Limits
from wsrunner.settings import Settings
from wsrunner.units import KIB, MIB

RUNTIMES = frozenset({"runc", "crun"})
"""Those whose containers show in /proc what a process has open. It was not tried with gVisor's."""
MEMORY_MIN_MB = 16
PIDS_MIN = 8
LIMIT_MAX_BITS = 32


@dataclass(frozen=True, slots=True)
class Order:
    """A job that has been checked: all that a run needs to know.

    Attributes:
        language: The catalogue's id.
        box: The container it needs.
        plan: What the container is to do.
        stdin: All of stdin, or None if it stays open.
        output_max_bytes: Output to deliver at most.
        workspace: Name of the workspace to run it in, or None.
    """

    language: str
    box: Box
    plan: Plan
    stdin: bytes | None
    output_max_bytes: int
    workspace: str | None = None

    def size_bytes(self) -> int:
        """Return what it keeps in memory, roughly."""
        plan = self.plan
        # One wide character makes a text four times as large as its ASCII.
        texts = (*plan.args, *plan.env, *plan.env.values(), plan.run)
        return (
            sum(map(len, plan.files.values()))
            + len(self.stdin or b"")
            + sum(map(sys.getsizeof, texts))
        )


def make_order(
    job: Job,
    *,
    catalogue: Catalogue,
    settings: Settings,
    present: Mapping[str, str],
) -> Order:
    """Check a job and say what is to be run.

    Args:
        job: What is asked for; its texts, names and sizes have been checked.
        catalogue: The languages.
        settings: The server's limits.
        present: The engine's images, by name with tag.

    Raises:
        UnknownLanguageError, LimitOutOfRangeError, ImageMissingError, SpaceUnfitError: It can't be
            run; the message says why.
    """
    if job.workspace is not None and job.window is not None:
        raise SpaceUnfitError("a run in a workspace has no terminal", path="$.tty")
    language = catalogue.find(job.language)
    limits = _limits(job.limits, settings)
    files = job.files or {language.file: job.code or b""}
    if list(files) == [language.file]:
        # The catalogue's name, which the code may overrule; a name of the client's own stays.
        files = {language.main_file(code): code for code in files.values()}
    image = choose_image(language, present)
    commands = language.commands(list(files), next(iter(files.values())))
    plan = Plan(
        files=files,
        build=commands.build,
        run=commands.run if job.command is None else job.command,
        wall_s=limits.wall_s,
        cpu_s=limits.cpu_s,
        args=job.args,
        live_env=language.env,
        env=job.env,
        window=job.window,
        merge=job.merge,
        ahead=_serves(language, files, settings),
        outputs=job.outputs,
        notices=job.waiting and job.stdin is None,
    )
    alone = job.window is None and job.workspace is None
    ahead = _ahead(language, image, settings) if alone else None
    return Order(
        language=language.id,
        box=limits.box(image, tty=job.window is not None, ahead=ahead),
        plan=plan,
        stdin=job.stdin,
        output_max_bytes=limits.output_bytes,
        workspace=job.workspace,
    )


@dataclass(frozen=True, slots=True)
class _Limits:
    wall_s: float
    cpu_s: float
    memory_bytes: int
    output_bytes: int
    pids: int
    cpus: float
    disk_bytes: int

    def box(self, image: str, *, tty: bool, ahead: Ahead | None) -> Box:
        return Box(
            image=image,
            tty=tty,
            memory_bytes=self.memory_bytes,
            pids=self.pids,
            cpus=self.cpus,
            disk_bytes=self.disk_bytes,
            ahead=ahead,
        )


def lowered(settings: Settings, most: Limits) -> Settings:
    """Return the server's settings with limits that are no higher than these."""
    lower = {
        name: value
        for name in Limits.__slots__
        if (value := getattr(most, name)) is not None and value < getattr(settings, name)
    }
    return msgspec.structs.replace(settings, **lower) if lower else settings


def _limits(asked: Limits, settings: Settings) -> _Limits:
    """Merge a job's limits with the server's.

    Raises:
        LimitOutOfRangeError: One is above the server's, or below what a run needs at all.
    """

    def pick(name: str, least: float, unit: str) -> Any:
        most = getattr(settings, name)
        value = getattr(asked, name)
        if value is None:
            return most
        if not least <= value <= most:
            raise LimitOutOfRangeError(
                f"{name} is {_shown(value)} {unit}; "
                f"this server allows {_shown(least)} to {_shown(most)} {unit}",
                path=f"$.limits.{name}",
            )
        return value

    return _Limits(
        wall_s=pick("wall_s", 0.1, "s"),
        cpu_s=pick("cpu_s", 1, "s"),
        memory_bytes=pick("memory_mb", MEMORY_MIN_MB, "MiB") * MIB,
        output_bytes=pick("output_kb", 1, "KiB") * KIB,
        pids=pick("pids", PIDS_MIN, "processes"),
        cpus=settings.cpus,
        disk_bytes=settings.disk_mb * MIB,
    )


def _shown(value: float) -> str:
    """Return a number in full, unless no limit is anywhere near."""
    if isinstance(value, int) and value.bit_length() > LIMIT_MAX_BITS:
        bound = f"2^{LIMIT_MAX_BITS}"
        return f"more than {bound}" if value > 0 else f"less than -{bound}"
    return f"{value:.12g}"


def default_box(settings: Settings, language: Language, image: str, *, tty: bool = False) -> Box:
    """Return the container of a job that asks for no limits of its own: the one to keep warm."""
    ahead = None if tty else _ahead(language, image, settings)
    return _limits(Limits(), settings).box(image, tty=tty, ahead=ahead)


def _ahead(language: Language, image: str, settings: Settings) -> Ahead | None:
    """Return what a warm container of that image starts for a language, None for nothing."""
    start = language.ahead
    if start is None or settings.ahead == "none" or settings.runtime not in RUNTIMES:
        return None
    if settings.ahead == "local" and language.local_image not in {"", image}:
        return None
    commands = language.commands()
    if len(commands.build) > 1:
        return None
    line = commands.build[0] if commands.build else commands.run
    modules = _preloaded(language, settings)
    if modules:
        begin = starters.importing(modules, line)
    else:
        begin = "" if start.way == "fifo" else starters.command(start.way, language.file, line)
    return Ahead(
        file=language.file,
        stage="build" if commands.build else "run",
        line=line,
        start=begin,
        live_env=tuple(language.env.items()),
        cpu_s=settings.cpu_s,
        start_cpu_s=start.cpu_s + starters.PRELOAD_CPU_S * bool(modules),
        memory_bytes=(start.memory_mb + starters.PRELOAD_MB * len(modules)) * MIB,
    )


def _serves(language: Language, files: Mapping[str, bytes], settings: Settings) -> bool:
    """Whether a program of these files can be served by what was started ahead."""
    if language.ahead is None or not language.ahead.serves(files):
        return False
    if not _preloaded(language, settings):
        return True
    _, *others = files
    return not any(
        fnmatchcase(name, pattern) for name in others for pattern in starters.NOT_WITH_PRELOADED
    )


def _preloaded(language: Language, settings: Settings) -> list[str]:
    """Return the modules that a language's interpreter imports ahead."""
    pairs = (each.partition("=") for each in settings.preload)
    return [module for name, _, module in pairs if name == language.id]


def choose_image(language: Language, present: Mapping[str, str]) -> str:
    """Return the image to use for a language.

    Raises:
        ImageMissingError: None of its images is there; names the commands that change that.
    """
    image = language.choose(present)
    if image is None:
        commands = f"`wsrunner images pull {language.id}`"
        if language.local_image:
            commands += f" or `wsrunner images build {language.id}`"
        raise ImageMissingError(
            f"the image of {language.id}, {language.image}, is not on this server; its operator "
            f"can fetch it with {commands}",
            path="$.language",
        )
    return image
