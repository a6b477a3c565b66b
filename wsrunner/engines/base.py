"""The engine's contract: start a container, talk to it, learn how it ended.

Owns the interface between runs and container engines. Must not import any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

STDOUT = 1
STDERR = 2


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
class Box:
    """What a container must be made of; equal boxes are interchangeable while they are warm.

    Attributes:
        image: Image name with tag.
        tty: Whether it has a terminal (one stream) instead of pipes (two).
        memory_bytes: Limit of memory and swap together, tmpfs included.
        pids: Limit of processes and threads.
        cpus: CPU quota in cores.
        disk_bytes: Size of the work directory's tmpfs.
    """

    image: str
    tty: bool
    memory_bytes: int
    pids: int
    cpus: float
    disk_bytes: int


class Container(Protocol):
    """A started container that waits for a request on its stdin, then runs it.

    Who got it from `Engine.start` must `destroy` it.
    """

    @property
    def id(self) -> str:
        """The engine's id."""
        ...

    @property
    def alive(self) -> bool:
        """False once the engine closed the attach stream: no run can start in it."""
        ...

    @property
    def unread_stdin_bytes(self) -> int:
        """Bytes written here that have not left this process."""
        ...

    def write(self, data: bytes) -> None:
        """Queue bytes for the container's stdin; never blocks, see `drain`.

        Raises:
            EngineUnavailableError: The attach stream is closed.
        """
        ...

    async def drain(self) -> None:
        """Wait until the program took most of what was written. Cancelling is safe."""
        ...

    def write_eof(self) -> None:
        """Close the container's stdin after what was written. Idempotent."""
        ...

    async def read(self, timeout_s: float | None = None) -> Sequence[Frame]:
        """Return all output that has come, at least one frame; nothing at the end of the stream.

        While nobody reads, the program's writes block after less than a megabyte.

        Args:
            timeout_s: Give up after so many seconds; None waits for ever.

        Raises:
            TimeoutError: Nothing came in `timeout_s`.

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

    async def oom_killed(self) -> bool:
        """Whether the engine reported that a process was killed for want of memory.

        For a container that ended without a report; waits a moment for the engine's event.
        """
        ...

    async def destroy(self) -> None:
        """Kill and remove it, and wait until it is gone. Idempotent; never raises.

        Must be shielded by the caller if it may be cancelled.
        """
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

    async def start(self, box: Box) -> Container:
        """Create, attach and start a container whose bootstrap waits for a request.

        Raises:
            ImageMissingError: The engine has no such image.
            EngineUnavailableError: The engine does not answer or refuses.

        Cancelling is safe: what was created is removed.
        """
        ...

    async def sweep(self) -> int:
        """Remove containers whose owner is gone; return how many.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        ...
