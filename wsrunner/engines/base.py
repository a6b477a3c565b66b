"""The engine's contract: start a container, give it a plan, take its output and reports.

Owns the interface between runs and container engines. Must not import any engine. How a container
is told its plan, and how its reports travel, is each engine's own business.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, Self

STDOUT = 1
STDERR = 2
SPACE_LIFE_S = 24 * 3600.0
"""Seconds after which a space is left over: whoever opened it lets none get as old."""


class Frame(NamedTuple):
    """A piece of output as it came from the container.

    Attributes:
        stream: `STDOUT` or `STDERR` (Docker Engine API 1.41, attach: the frame header's first
            byte). A terminal container has only `STDOUT`.
        data: Bytes, cut anywhere.
    """

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ahead:
    """A plan's first command, for a warm container to start before it has the plan.

    It comes up and waits for its main file; a plan that begins with just that command then has it
    go on, any other finds the container as if nothing had been started.

    Attributes:
        file: Name of the main file, which the command reads once from beginning to end.
        stage: ``build`` or ``run``.
        line: The command, one that needs no shell.
        live_env: The catalogue's variables, as pairs.
        cpu_s: CPU seconds that a plan must allow to be served.
        start_cpu_s: CPU seconds that are allowed on top, for the start.
        memory_bytes: What it keeps while it waits.
        start: What to start in its place, which becomes it when it has read `file`; empty for the
            command itself.
    """

    file: str
    stage: str
    line: str
    live_env: tuple[tuple[str, str], ...]
    cpu_s: float
    start_cpu_s: int = 0
    memory_bytes: int = 0
    start: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """What a container must be made of; equal boxes are interchangeable while they are warm.

    Attributes:
        image: Image name with tag.
        tty: Whether it has a terminal (one stream) instead of pipes (two).
        memory_bytes: Limit of memory and swap together, tmpfs included.
        pids: Limit of processes and threads.
        cpus: CPU quota in cores.
        disk_bytes: Size of the work directory's tmpfs.
        ahead: What a warm one has started; None for nothing.
    """

    image: str
    tty: bool
    memory_bytes: int
    pids: int
    cpus: float
    disk_bytes: int
    ahead: Ahead | None = None

    @property
    def bare(self) -> Box:
        """The same with nothing started."""
        return self if self.ahead is None else replace(self, ahead=None)


class Ended(enum.Enum):
    """What is known of the end of a container whose program's report never came.

    Attributes:
        KILLED: It was killed with SIGKILL: from outside, or by its own program.
        OUT_OF_MEMORY: The same, by the kernel for want of memory.
        LOST: The engine knows of no such end: what broke is the stream, or the engine itself.
    """

    KILLED = enum.auto()
    OUT_OF_MEMORY = enum.auto()
    LOST = enum.auto()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a container is to do: files to write, then stages to run.

    Attributes:
        files: Relative name → content; the names are checked by `protocol`.
        build: Shell lines, run one after the other until one fails; none for no build stage.
        run: The run command's shell line.
        args: Appended to the run command, each one argument.
        live_env: The catalogue's variables, which make lines come live.
        env: The client's variables, for build and run.
        wall_s: Seconds after which the container ends itself if the server has died.
        cpu_s: CPU seconds that each process may use; see `Container.cpu_used_s` for all of them.
        window: (columns, rows) of a terminal run, else None.
        merge: Whether stderr is stdout, from the start.
        ahead: Whether its files allow that its first command was started before they were there.
        notices: Whether to tell when the program wants input, as `Asks`.
        outputs: Patterns of the files that are to come out after the run's report. Then nothing
            that the program has started is there any more when that report comes, and `STDOUT`
            carries an archive behind it, see `runs.archive`.
    """

    files: Mapping[str, bytes]
    build: Sequence[str]
    run: str
    wall_s: float
    cpu_s: float
    args: Sequence[str] = ()
    live_env: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    window: tuple[int, int] | None = None
    merge: bool = False
    ahead: bool = False
    notices: bool = False
    outputs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """How a stage ended, from inside the container.

    Attributes:
        stage: ``build`` or ``run``.
        code: Exit code, 0 to 255; None if a signal ended it.
        signal: Number of the signal that ended it, else None.
        wall_s: How long it took, by the container's clock; None if that was set meanwhile.
        cpu_s: CPU time of the container during the stage; None where the runtime does not tell.
        peak_bytes: Peak memory of the container until the stage's end, its tmpfs included; None
            likewise, and where a stage before it needed more, so that its own can't be told.
        oom_kills: Processes killed so far because memory ran out.
    """

    stage: str
    code: int | None
    signal: int | None
    wall_s: float | None
    cpu_s: float | None
    peak_bytes: int | None
    oom_kills: int


class Ready(NamedTuple):
    """A terminal is as the program is to find it: from now on input reaches the program."""


class Asks(NamedTuple):
    """Whether the program waits for input, as far as can be seen; told when that changes.

    Where it can't be seen, it is never told.
    """

    waiting: bool


Item = Frame | Ready | Asks | Report
"""What `Container.read` returns."""


class BadReportError(Exception):
    """A report that the bootstrap can't have written: the program has tampered with it."""


class Container(Protocol):
    """A started container that waits for its one plan, then carries it out.

    Who got it from `Engine.start` must `destroy` it. First `begin`, then everything else.
    """

    @property
    def id(self) -> str:
        """The engine's id."""
        ...

    @property
    def alive(self) -> bool:
        """False once it has ended or been cut off: no run can start in it."""
        ...

    def begin(self, plan: Plan) -> None:
        """Give it what it is to do; once. Never blocks.

        Without a terminal the program's input may be written at once; with one, only after `Ready`.

        Raises:
            EngineUnavailableError: It has ended.
        """
        ...

    @property
    def unread_stdin_bytes(self) -> int:
        """Bytes written here, the plan included, that have not left this process."""
        ...

    def write(self, data: bytes) -> None:
        """Queue bytes for the program's stdin; never blocks, see `drain`.

        Raises:
            EngineUnavailableError: It has ended.
        """
        ...

    async def drain(self) -> None:
        """Wait until the program took most of what was written. Cancelling is safe."""
        ...

    def write_eof(self) -> None:
        """End the program's stdin after what was written. Idempotent; a terminal gets a ^D each."""
        ...

    async def read(self, timeout_s: float | None = None) -> Sequence[Item]:
        """Return what has come, in order and at least one item; nothing at the container's end.

        The stream also ends where it can't be read any further; `ended` tells which it was.

        A stage's report comes after all of its output, the build's before the run's. While nobody
        reads, the program's writes block after less than a megabyte.

        Args:
            timeout_s: Give up after so many seconds; None waits for ever.

        Raises:
            TimeoutError: Nothing came in `timeout_s`.
            BadReportError: Nothing that the container says can be believed any more.

        Cancelling is safe: no output is lost.
        """
        ...

    async def signal(self, name: str) -> None:
        """Send a signal such as ``SIGINT`` to the program's process group.

        Raises:
            EngineUnavailableError: The engine did not take it.
        """
        ...

    async def resize(self, columns: int, rows: int) -> None:
        """Set the terminal's window size, which sends SIGWINCH.

        Raises:
            EngineUnavailableError: The engine did not take it.
        """
        ...

    async def cpu_used_s(self) -> float:
        """Return the CPU seconds that all of it has used since it began its plan; 0 if not told.

        What was started ahead has used before does not count. Cancelling is safe.

        Raises:
            EngineUnavailableError: The engine did not say.
        """
        ...

    async def ended(self) -> Ended:
        """Say how it ended, after `read` returned nothing and no report had come; never raises.

        Takes a few seconds at most: as long as the engine may need to notice an end.
        Cancelling is safe.
        """
        ...

    async def destroy(self) -> None:
        """Kill and remove it, and wait until it is gone. Idempotent; never raises.

        Must be shielded by the caller if it may be cancelled.
        """
        ...


class Left(NamedTuple):
    """A space that no process is connected to: what it takes to go on with it.

    Attributes:
        id: The engine's id of the container.
        token: What its first process knows its server by.
        oom_kills: Processes killed for want of memory so far.
    """

    id: str
    token: bytes
    oom_kills: int


class Space(Protocol):
    """A started container that carries out one plan after another: files stay, processes don't.

    Who got it from `Engine.open_space` must `destroy` it.
    """

    @property
    def id(self) -> str:
        """The engine's id."""
        ...

    @property
    def alive(self) -> bool:
        """False once it has ended or been cut off: its files are gone."""
        ...

    def next_run(self) -> Container:
        """Return the container of its next plan, as if it were a container of its own.

        Only when the one before it has been destroyed, which here ends every process of the run and
        waits until they are gone. Where that can't be had, or memory is left that outlives its
        process, the space is destroyed. Nothing that a plan's processes do reaches the next one's
        bootstrap, but for files in the work directory and in /tmp.
        """
        ...

    async def left(self) -> Left:
        """Return what another process needs to go on with it, once that can be.

        Only where it outlasts its process, and when its last run has been destroyed.

        Raises:
            EngineUnavailableError: It has ended, or does not come to rest.

        When this raises, or is cancelled, it is to be destroyed.
        """
        ...

    def leave(self) -> None:
        """Disconnect from it after `left`: it goes on without this process."""
        ...

    async def destroy(self) -> None:
        """See `Container.destroy`."""
        ...


class Engine(Protocol):
    """A container engine. ``async with engine`` connects and disconnects."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def ping(self) -> None:
        """Check that the engine answers.

        Raises:
            EngineUnavailableError: It does not; the message says what to do.
        """
        ...

    async def name(self) -> str:
        """Return a name that is this engine's alone, the same for every process that uses it.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        ...

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the engine came back or its images changed. Must not block."""
        ...

    async def images(self) -> Mapping[str, str]:
        """Return the local images: name with tag → image id.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        ...

    async def labels(self, image: str) -> Mapping[str, str]:
        """Return the labels of a local image, by its name with tag; none if it is not there.

        Costs no more than `images`.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        ...

    async def start(self, box: Box) -> Container:
        """Create, attach and start a container whose bootstrap waits for a request.

        What the box has started ahead has come up by then, if it ever does.

        Raises:
            ImageMissingError: The engine has no such image.
            EngineUnavailableError: The engine does not answer or refuses.

        Cancelling is safe: what was created is removed.
        """
        ...

    async def open_space(self, box: Box, label: str, lasts_s: float | None = None) -> Space:
        """Start a container for plan after plan.

        Args:
            box: What it is made of; without a terminal, and with nothing started ahead.
            label: Tells it from any other, whoever opened it.
            lasts_s: How long it waits for a run before it ends by itself, with or without a process
                that is connected to it, which has it wait on; None: it ends with this process.

        Raises:
            SpaceUnfitError: The image lacks what it takes.
            ImageMissingError, EngineUnavailableError: See `start`.

        Cancelling is safe: what was created is removed.
        """
        ...

    async def resume_space(self, box: Box, left: Left, lasts_s: float) -> Space | None:
        """Go on with a space that another process has left; None if it has ended.

        Args:
            box: What it is made of.
            left: Of its `Space.left`.
            lasts_s: As when it was opened.

        Raises:
            EngineUnavailableError: The engine does not answer.

        Cancelling is safe.
        """
        ...

    async def end_space(self, left: Left) -> None:
        """Remove a space that was left, and wait until it is gone; never raises."""
        ...

    async def sweep(self) -> int:
        """Remove containers whose owner is gone; return how many.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        ...
