"""``wsrunner run``: one run with this process's stdin, stdout, stderr, signals and terminal.

Owns file descriptors 0 to 2, the terminal's mode, signal handlers, and which exit code says what.
The conversation with the server is `client`'s, reading sources `sources`'s. Must not import click.

::

    play ── connects, starts the run, writes its output until it ended
    ├─ pump         stdin → run, then end of file
    └─ signal handlers: SIGINT, SIGTERM, SIGHUP, SIGWINCH
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from wsrunner.address import DEFAULT_URL
from wsrunner.client import (
    Client,
    ConnectError,
    ConnectionLostError,
    Exit,
    Run,
    RunRefusedError,
)
from wsrunner.commands import sources
from wsrunner.commands.sources import SourceError

STDIN, STDOUT, STDERR = 0, 1, 2

EX_REFUSED = 64
EX_TOO_LARGE = 65
EX_NO_INPUT = 66
EX_UNAVAILABLE = 69
EX_INTERNAL = 70
EX_IO_ERROR = 74
EX_TRY_LATER = 75
EX_LOST = 76
EX_NO_PERMISSION = 77
"""Codes of sysexits.h, for what is not the program's doing."""

REASON_CODES: Mapping[str, int] = {
    "timeout": 124,  # as timeout(1)
    "cpu_limit": 128 + signal.SIGXCPU,
    "out_of_memory": 128 + signal.SIGKILL,  # as a shell shows the kernel's kill
    "output_limit": 128 + signal.SIGXFSZ,
    "cancelled": 128 + signal.SIGTERM,
    "lease_lost": EX_TRY_LATER,
    "engine_lost": EX_TRY_LATER,
    "draining": EX_TRY_LATER,
}
REFUSAL_CODES: Mapping[str, int] = {
    "too_large": EX_TOO_LARGE,
    "image_missing": EX_UNAVAILABLE,
    "internal": EX_INTERNAL,
    "queue_full": EX_TRY_LATER,
    "rate_limited": EX_TRY_LATER,
    "gate_unavailable": EX_TRY_LATER,
    "engine_unavailable": EX_TRY_LATER,
    "draining": EX_TRY_LATER,
}
REASON_LINES: Mapping[str, str] = {
    "timeout": "the run took longer than its time limit and was ended",
    "cpu_limit": "the program used more CPU time than its limit and was ended",
    "out_of_memory": "the program used more memory than its limit and was ended",
    "output_limit": "the program printed more than its output limit and was ended",
    "cancelled": "the run was cancelled",
    "lease_lost": "the server lost the run's slot and ended it: try again",
    "engine_lost": "the server's container engine failed and the run ended: try again",
    "draining": "the server is stopping and ended the run: try again",
}

READ_BYTES = 64 * 1024
WRITE_BYTES = 4096
"""PIPE_BUF: a write of no more never blocks on a pipe that poll calls writable (POSIX write)."""
CANCEL_AGAIN_S = 1.0
CANCEL_GRACE_S = 3.0
CELLS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """What to run and how to show it; one field per option of ``wsrunner run``.

    Attributes:
        main: The main file's content.
        name: Its name; None for source that came from no file.
        extra: Further files, name → content.
        language: Id or alias; None to guess.
        limits: As `Client.run` takes them.
        stdin: File to read the program's stdin from, this process's own if None.
        no_stdin: The program gets end of file at once: its source came from stdin.
    """

    main: bytes
    name: str | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)
    language: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    stdin: Path | None = None
    no_stdin: bool = False
    tty: bool = False
    stats: bool = False
    json: bool = False


def ensure_descriptors() -> None:
    """Open /dev/null for each of descriptors 0 to 2 that is closed.

    Or the next socket gets its number, and a program's output would be written into it.
    """
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def play(client_options: Mapping[str, Any], job: Job) -> int:
    """Run a job to its end on this terminal and return the exit code for this process.

    Signal handlers stay as they are then: the caller has nothing to do but to end.

    Args:
        client_options: ``url`` and ``token`` of `Client`.
        job: What to run.
    """
    return asyncio.run(_Console(job).play(dict(client_options)))


def exit_code(ended: Exit) -> int:
    """Return the exit code that a run's end stands for; docs/client.md has the table."""
    if ended.reason == "exited":
        return (ended.code or 0) & 0xFF
    if ended.reason == "signaled":
        try:
            return 128 + signal.Signals[ended.signal or ""].value
        except KeyError:
            return 128
    return REASON_CODES.get(ended.reason, EX_INTERNAL)


def explain(ended: Exit) -> str | None:
    """Return what to say about a run's end; None where the exit code says all."""
    build = ended.stage == "build"
    if ended.reason == "exited":
        return f"the build failed with code {ended.code}" if build and ended.code else None
    if ended.reason == "signaled":
        return f"the {'build' if build else 'program'} was ended by {ended.signal}"
    return REASON_LINES.get(ended.reason, f"the run ended: {ended.reason}")


def summarize(ended: Exit) -> str:
    """Return one line of a run's figures."""
    what: str = ended.reason
    if ended.reason in {"exited", "signaled"}:
        what += f" {ended.code if ended.reason == 'exited' else ended.signal}"
    if ended.stage != "run":
        what += f" ({ended.stage})"
    cpu = "-" if ended.cpu_ms is None else f"{ended.cpu_ms:.1f} ms"
    memory = "-" if ended.memory_kb is None else f"{ended.memory_kb / 1024:.1f} MiB"
    return (
        f"{what}, queued {ended.queued_ms:.0f} ms, wall {ended.wall_ms:.1f} ms, cpu {cpu}, "
        f"memory {memory}, output {ended.output_bytes} bytes{', truncated' * ended.truncated}"
    )


class _StopError(Exception):
    """Ends the job with an exit code, and a line if there is something to say."""

    def __init__(self, code: int, line: str | None = None) -> None:
        super().__init__(line)
        self.code = code
        self.line = line


class _Terminal:
    """The local terminal's mode; `restore` undoes `make_raw`, any number of times."""

    def __init__(self) -> None:
        self._saved: list[Any] | None = None

    def make_raw(self) -> None:
        if self._saved is None and os.isatty(STDIN):
            self._saved = termios.tcgetattr(STDIN)
            tty.setraw(STDIN, termios.TCSANOW)

    def restore(self) -> None:
        if self._saved is not None:
            # TCSANOW: waiting for output to drain hangs on a terminal that was stopped with ^S.
            with suppress(termios.error):
                termios.tcsetattr(STDIN, termios.TCSANOW, self._saved)
            self._saved = None

    @staticmethod
    def size() -> tuple[int, int]:
        """Return (columns, rows) as the protocol takes them; 80 by 24 where nobody knows."""
        for descriptor in (STDOUT, STDIN, STDERR):
            try:
                size = os.get_terminal_size(descriptor)
            except OSError:
                continue
            if size.columns and size.lines:
                return min(size.columns, CELLS_MAX), min(size.lines, CELLS_MAX)
        return 80, 24


class _Console:
    """Plays one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._run: Run | None = None
        self._main: asyncio.Task[int] | None = None
        self._terminal = _Terminal()
        self._stopped: int | None = None
        self._interrupted_s: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._size = self._terminal.size()
        self._shows_position = os.isatty(STDERR)
        self._position_shown = False
        self._mid_line = False
        self._lines: deque[bytes] = deque()
        self._lines_lock = asyncio.Lock()

    async def play(self, client_options: dict[str, Any]) -> int:
        """Return the exit code; everything that needs saying has been said on stderr."""
        self._main = asyncio.current_task()
        handled = self._handle_signals()
        ended: Exit | None = None
        try:
            on_message = self._keep_line if self._job.json else None
            ended = await self._play(Client(**client_options, on_message=on_message))
            code, line = exit_code(ended), explain(ended)
            if self._stopped is not None and ended.reason in {"cancelled", "signaled"}:
                code, line = self._stopped, None
            elif ended.reason == "signaled" and self._interrupted_s and ended.signal == "SIGINT":
                line = None  # who pressed Ctrl-C knows
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            code, line = self._stopped, None
        except _StopError as exc:
            code, line = exc.code, exc.line
        finally:
            self._terminal.restore()
            self._clear_position()
        for number in handled:
            # What is left takes no time, unless a look-up still hangs in a thread; and by default
            # a Ctrl-C now would show a traceback.
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, lambda *_: os._exit(code))
        if line is not None and self._stopped is None:
            self._note(line)
        if self._job.stats and ended is not None:
            self._note(summarize(ended))
        return code

    async def _play(self, client: Client) -> Exit:
        """Connect and run.

        Raises:
            _StopError: Anything that kept the run from an exit.
        """
        catalogue = None
        if self._job.language is None:
            # While the WebSocket is opened, so that guessing costs no round trip.
            catalogue = asyncio.create_task(client.languages())
        try:
            async with client:
                try:
                    return await self._play_on(client, catalogue)
                finally:
                    if self._job.json:
                        with suppress(_StopError):
                            await self._write_lines()
        except ConnectError as exc:
            raise self._unreachable(exc) from exc
        except ConnectionLostError as exc:
            raise _StopError(EX_LOST, f"{exc}; the run is cancelled") from exc
        except SourceError as exc:
            raise _StopError(EX_REFUSED, str(exc)) from exc
        except RunRefusedError as exc:
            raise await self._refused(client, exc) from exc
        finally:
            if catalogue is not None:
                catalogue.cancel()
                await asyncio.gather(catalogue, return_exceptions=True)
            for task in self._tasks:
                task.cancel()

    async def _play_on(
        self, client: Client, catalogue: asyncio.Task[list[dict[str, Any]]] | None
    ) -> Exit:
        job = self._job
        name = job.name
        if catalogue is not None:
            known = await catalogue
            language = sources.guess(name, job.main, known)
            if name is not None and "." not in name:
                # Compilers go by the extension, and a script with a `#!` line has none.
                name = str((sources.entry(known, language) or {}).get("file", name))
        else:
            assert job.language is not None
            language = job.language
        run = self._run = await client.run(
            language,
            **await self._content(client, language, name),
            args=job.args,
            env=job.env,
            command=job.command,
            limits=job.limits,
            tty=self._size if job.tty else False,
            stdin="" if job.no_stdin and not job.tty else None,
            on_queued=self._queued,
            on_started=self._started,
        )
        if self._stopped is not None:
            await run.cancel()
        if not job.no_stdin:
            self._spawn(self._pump(run))
        elif job.tty:
            self._spawn(self._quietly(run.eof()))
        first = True
        async for output in run:
            if first:
                first = False
                self._resized()  # a terminal run takes a new size only once its program runs
            if job.json:
                await self._write_lines()
            else:
                descriptor = STDOUT if output.stream == "stdout" else STDERR
                await self._write(descriptor, output.data)
                self._mid_line = os.isatty(descriptor) and not output.data.endswith(b"\n")
        return await run.exit()

    async def _content(self, client: Client, language: str, name: str | None) -> dict[str, Any]:
        """Return the arguments ``code`` or ``files`` of `Client.run`."""
        job = self._job
        if name is None or "." not in name:
            try:
                if not job.extra:
                    return {"code": job.main.decode()}
            except UnicodeDecodeError:
                pass
            # Without a name that tells its kind it gets the language's own.
            entry = sources.entry(await client.languages(), language)
            name = str(entry["file"]) if entry else name or "main"
        if name in job.extra:
            raise SourceError(f"two files would be named {name!r}")
        return {"files": {name: job.main, **job.extra}}

    # What the server says.

    def _queued(self, position: int, waiting: int) -> None:
        if self._job.json:
            self._spawn(self._write_lines())
        elif self._shows_position:
            self._position_shown = True
            self._say(f"\r\x1b[Kwaiting: position {position} of {waiting}")
        else:
            self._note(f"waiting: position {position} of {waiting}")

    def _started(self, stage: str) -> None:
        self._clear_position()
        if self._job.json:
            self._spawn(self._write_lines())
        if self._job.tty and stage == "run":
            self._terminal.make_raw()

    def _clear_position(self) -> None:
        if self._position_shown:
            self._position_shown = False
            self._say("\r\x1b[K")

    def _keep_line(self, message: str | bytes) -> None:
        raw = message.encode() if isinstance(message, str) else message
        # In JSON a bare line end can only be white space between values.
        self._lines.append(raw.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")

    async def _write_lines(self) -> None:
        async with self._lines_lock:
            while self._lines:
                await self._write(STDOUT, self._lines.popleft())

    def _unreachable(self, exc: ConnectError) -> _StopError:
        if exc.status in {401, 403}:
            hint = ": give it with --token or WSRUNNER_TOKEN" if exc.status == 401 else ""  # noqa: PLR2004
            return _StopError(EX_NO_PERMISSION, f"{exc}{hint}")
        if exc.status is not None:
            hint = ""
            if exc.status in {404, 405, 426}:
                hint = f"; --url takes the server's address, such as {DEFAULT_URL}"
            return _StopError(EX_UNAVAILABLE, f"{exc}{hint}")
        return _StopError(
            EX_UNAVAILABLE,
            f"{exc}: start one with `wsrunner serve`, or name one with --url or WSRUNNER_URL",
        )

    async def _refused(self, client: Client, exc: RunRefusedError) -> _StopError:
        line = exc.message
        if exc.path and exc.code in {"bad_message", "limit_out_of_range"}:
            line += f" (at {exc.path})"
        if exc.code == "unknown_language":
            with suppress(ConnectError):
                line += f"; the server has {', '.join(sources.ids(await client.languages()))}"
        if exc.retry_after_s is not None:
            line += f"; try again in {exc.retry_after_s:g} s"
        return _StopError(REFUSAL_CODES.get(exc.code, EX_REFUSED), line)

    # Signals.

    def _handle_signals(self) -> list[signal.Signals]:
        """Install handlers; return for which signals."""
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGINT: self._interrupt,
            signal.SIGTERM: lambda: self._stop(128 + signal.SIGTERM),
            signal.SIGHUP: lambda: self._stop(128 + signal.SIGHUP),
            signal.SIGWINCH: self._resized,
        }
        installed = []
        for number, handler in handlers.items():
            # Ignored from the start: nohup, or a background job. It shall stay so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, handler)
                installed.append(number)
        return installed

    def _interrupt(self) -> None:
        """Ctrl-C: to the program; again within a second: cancel; after that: end here and now."""
        if self._stopped is not None:
            self._terminal.restore()
            self._clear_position()
            os._exit(self._stopped)
        now_s = asyncio.get_running_loop().time()
        before_s, self._interrupted_s = self._interrupted_s, now_s
        run = self._run
        if run is None or run.stage != "run":
            self._stop(128 + signal.SIGINT)  # there is no program yet that could handle it
        elif before_s is not None and now_s - before_s < CANCEL_AGAIN_S:
            self._stop(128 + signal.SIGINT)
        else:
            self._spawn(self._quietly(run.signal("SIGINT")))

    def _stop(self, code: int) -> None:
        """Cancel the run; if its exit doesn't come soon, leave without it."""
        if self._stopped is not None:
            return
        self._stopped = code
        assert self._main is not None
        if self._run is None:
            self._main.cancel()
        else:
            self._spawn(self._quietly(self._run.cancel()))
            asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._main.cancel)

    def _resized(self) -> None:
        size = self._terminal.size()
        if self._job.tty and self._run is not None and size != self._size:
            if self._run.stage == "run":
                self._size = size
            self._spawn(self._quietly(self._run.resize(*size)))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _quietly(request: Coroutine[Any, Any, None]) -> None:
        with suppress(ConnectionLostError):  # told by the output loop
            await request

    # Descriptors.

    async def _pump(self, run: Run) -> None:
        """Send stdin as it comes, then end of file."""
        opened = None
        try:
            if self._job.stdin is not None:
                opened = os.open(self._job.stdin, os.O_RDONLY)
            source = STDIN if opened is None else opened
            while data := await self._read(source):
                await run.stdin(data)
            await run.eof()
        except ConnectionLostError:
            pass
        except (OSError, RunRefusedError) as exc:
            self._note(f"stdin: {exc}")
            await self._quietly(run.eof())
        finally:
            if opened is not None:
                os.close(opened)

    async def _read(self, descriptor: int) -> bytes:
        """Return what is there to read, at least one byte; empty at the end of the file."""
        while True:
            await self._until_ready(descriptor, write=False)
            try:
                return os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return b""  # EIO: the terminal is gone, or this is no longer its foreground job

    async def _write(self, descriptor: int, data: bytes) -> None:
        """Write all of `data` without ever blocking the event loop, which must hear Ctrl-C.

        O_NONBLOCK is no way: it would hold for all processes that share the terminal or pipe.

        Raises:
            _StopError: It can't be written.
        """
        rest = memoryview(data)
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        try:
            while rest:
                if not poll.poll(0):
                    await self._until_ready(descriptor, write=True)
                    continue
                try:
                    rest = rest[os.write(descriptor, rest[:WRITE_BYTES]) :]
                except BlockingIOError:
                    await self._until_ready(descriptor, write=True)
        except BrokenPipeError as exc:
            self._shows_position = False
            raise _StopError(128 + signal.SIGPIPE) from exc
        except OSError as exc:
            name = "stdout" if descriptor == STDOUT else "stderr"
            raise _StopError(EX_IO_ERROR, f"can't write to {name}: {exc.strerror}") from exc

    async def _until_ready(self, descriptor: int, *, write: bool) -> None:
        """Wait until a descriptor can be read or written; regular files always can."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        try:
            (loop.add_writer if write else loop.add_reader)(descriptor, wake)
        except PermissionError:  # epoll takes no regular files and no /dev/null
            return
        try:
            await ready
        finally:
            (loop.remove_writer if write else loop.remove_reader)(descriptor)

    def _note(self, line: str) -> None:
        """Write one line on stderr, on a line of its own."""
        self._clear_position()
        start = "\n" if self._mid_line and os.isatty(STDERR) else ""
        self._mid_line = False
        self._say(f"{start}wsrunner: {line}\n")

    @staticmethod
    def _say(text: str) -> None:
        # Few and short: these may block. Nobody being there to read them is no failure.
        with suppress(OSError):
            os.write(STDERR, text.encode(errors="replace"))


def fail(code: int, line: str) -> NoReturn:
    """Say why nothing runs, and end with an exit code."""
    sys.stderr.write(f"wsrunner: {line}\n")
    sys.exit(code)
