"""``wsrunner run``: one run with this process's stdin, stdout, stderr, signals and terminal.

Owns the signal handlers, and what goes where between the run and this process. The conversation
with the server is `client`'s; sources, descriptors, the terminal, notices on stderr and exit codes
have modules of their own beside this one. Must not import click.

::

    play ── connects, starts the run, writes its output until it ended
    ├─ pump         stdin → run, then end of file
    └─ signal handlers: SIGINT, SIGTERM, SIGHUP, SIGWINCH
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from wsrunner import names
from wsrunner.address import link
from wsrunner.client import (
    Client,
    ConnectError,
    ConnectionLostError,
    Exit,
    Run,
    RunRefusedError,
)
from wsrunner.commands import descriptors, outcomes, saving, sources
from wsrunner.commands.descriptors import STDERR, STDIN, STDOUT
from wsrunner.commands.job import Job
from wsrunner.commands.notices import Notices
from wsrunner.commands.outcomes import StopError
from wsrunner.commands.saving import SavingError
from wsrunner.commands.sources import SourceError
from wsrunner.commands.terminal import Terminal

CANCEL_AGAIN_S = 1.0
CANCEL_GRACE_S = 3.0


def play(client_options: Mapping[str, Any], job: Job) -> int:
    """Run a job to its end on this terminal and return the exit code for this process.

    Signal handlers stay as they are then: the caller has nothing to do but to end.

    Args:
        client_options: ``url`` and ``token`` of `Client`.
        job: What to run.
    """
    return asyncio.run(_Console(job).play(dict(client_options)))


class _Console:
    """Plays one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._run: Run | None = None
        self._main: asyncio.Task[int] | None = None
        self._terminal = Terminal()
        self._tty = job.tty
        self._stopped: int | None = None
        self._interrupted_s: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._size = self._terminal.size()
        self._notices = Notices()
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
            code, line = outcomes.exit_code(ended), outcomes.explain(ended)
            if self._stopped is not None and ended.reason in {"cancelled", "signaled"}:
                code, line = self._stopped, None
            elif ended.reason == "signaled" and self._interrupted_s and ended.signal == "SIGINT":
                line = None  # who pressed Ctrl-C knows
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            code, line = self._stopped, None
        except StopError as exc:
            code, line = exc.code, exc.line
        finally:
            self._terminal.restore()
            self._notices.clear_position()
        for number in handled:
            # What is left takes no time, unless a look-up still hangs in a thread; and by default
            # a Ctrl-C now would show a traceback.
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, lambda *_: os._exit(code))
        if line is not None and self._stopped is None:
            self._notices.say(line)
        if self._job.stats and ended is not None:
            self._notices.say(outcomes.summarize(ended))
        return code

    async def _play(self, client: Client) -> Exit:
        """Connect and run.

        Raises:
            StopError: Anything that kept the run from an exit.
        """
        catalogue = None
        if self._job.language is None and self._job.kept is None:
            # While the WebSocket is opened, so that guessing costs no round trip.
            catalogue = asyncio.create_task(client.languages())
        try:
            async with client:
                try:
                    return await self._play_on(client, catalogue)
                finally:
                    if self._job.json:
                        with suppress(StopError):
                            await self._write_lines()
        except ConnectError as exc:
            raise outcomes.unreachable(exc) from exc
        except ConnectionLostError as exc:
            raise outcomes.lost(exc, kept=self._job.outlives) from exc
        except SourceError as exc:
            raise StopError(outcomes.EX_REFUSED, str(exc)) from exc
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
        if job.kept is not None:
            run = await client.attach(
                *job.kept, on_queued=self._queued, on_started=self._started, on_gap=self._missed
            )
            self._run = run
            self._tty = run.tty and not job.watch
            if run.stage == "run":
                self._started("run")
                self._resized()
        else:
            run = self._run = await self._start(client, catalogue)
            self._tell_links(client, run)
        if self._stopped is not None:
            await run.cancel()
        if job.watch:
            pass
        elif not job.no_stdin:
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
                self._notices.printed(descriptor, output.data)
        ended = await run.exit()
        self._save(run)
        return ended

    def _save(self, run: Run) -> None:
        """Write what the run has made, and say what there is and what did not come.

        Raises:
            StopError: It can't be written.
        """
        try:
            saved = [] if self._job.out is None else saving.save(run.files, self._job.out)
        except SavingError as exc:
            raise StopError(outcomes.EX_IO_ERROR, f"can't write {exc}") from exc
        for path in saved:
            self._notices.say(f"wrote {path}")
        for each in run.left_out:
            name = "files" if each.name is None else each.name
            self._notices.say(f"left out {names.shown(name)}: {names.shown(each.message)}")

    async def _start(
        self, client: Client, catalogue: asyncio.Task[list[dict[str, Any]]] | None
    ) -> Run:
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
        return await client.run(
            language,
            **await self._content(client, language, name),
            args=job.args,
            env=job.env,
            command=job.command,
            limits=job.limits,
            tty=self._size if job.tty else False,
            merge=job.merge,
            stdin="" if job.no_stdin and not job.tty else None,
            outputs=job.outputs,
            workspace=job.workspace,
            keep_s=job.keep_s,
            on_queued=self._queued,
            on_started=self._started,
            on_gap=self._missed,
        )

    def _tell_links(self, client: Client, run: Run) -> None:
        """Say how others come to a kept run, and this user again."""
        keys = run.keys
        if keys is not None and keys.drive and keys.view and not self._job.json:
            drive, view = (link(client.url, keys.run, key) for key in (keys.drive, keys.view))
            self._notices.say(f"to drive it: wsrunner attach '{drive}'")
            self._notices.say(f"to watch it: wsrunner watch '{view}'")

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
        else:
            self._notices.show_position(position, waiting)

    def _started(self, stage: str) -> None:
        self._notices.clear_position()
        if self._job.json:
            self._spawn(self._write_lines())
        if self._tty and stage == "run":
            self._terminal.make_raw()

    def _missed(self, missed_bytes: int) -> None:
        self._notices.say(f"{missed_bytes} bytes of output were lost while nobody read them")

    def _keep_line(self, message: str | bytes) -> None:
        raw = message.encode() if isinstance(message, str) else message
        # In JSON a bare line end can only be white space between values.
        self._lines.append(raw.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")

    async def _write_lines(self) -> None:
        async with self._lines_lock:
            while self._lines:
                await self._write(STDOUT, self._lines.popleft())

    async def _refused(self, client: Client, exc: RunRefusedError) -> StopError:
        known: list[str] = []
        if exc.code == "unknown_language":
            with suppress(ConnectError):
                known = sources.ids(await client.languages())
        return outcomes.refused(exc, known)

    # Signals.

    def _handle_signals(self) -> list[signal.Signals]:
        """Install handlers; return for which signals."""
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGINT: self._interrupt,
            signal.SIGTERM: lambda: self._stop(128 + signal.SIGTERM),
            signal.SIGHUP: self._hung_up,
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
            self._notices.clear_position()
            os._exit(self._stopped)
        now_s = asyncio.get_running_loop().time()
        before_s, self._interrupted_s = self._interrupted_s, now_s
        run = self._run
        if self._job.watch:
            self._leave(128 + signal.SIGINT)
        elif run is None or run.stage != "run":
            self._stop(128 + signal.SIGINT)  # there is no program yet that could handle it
        elif before_s is not None and now_s - before_s < CANCEL_AGAIN_S:
            self._stop(128 + signal.SIGINT)
        else:
            self._spawn(self._quietly(run.signal("SIGINT")))

    def _hung_up(self) -> None:
        """The terminal is gone; a run that is kept waits for its user to come back."""
        stop = self._leave if self._job.outlives else self._stop
        stop(128 + signal.SIGHUP)

    def _leave(self, code: int) -> None:
        """End without a word to the run."""
        self._stopped = code
        assert self._main is not None
        self._main.cancel()

    def _stop(self, code: int) -> None:
        """Cancel the run; if its exit doesn't come soon, leave without it."""
        if self._stopped is not None:
            return
        if self._job.kept is not None and code == 128 + signal.SIGTERM:
            # It is not this command that began it.
            self._leave(code)
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
        if self._tty and self._run is not None and size != self._size:
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
            while data := await descriptors.read(source):
                await run.stdin(data)
            await run.eof()
        except ConnectionLostError:
            pass
        except (OSError, RunRefusedError) as exc:
            self._notices.say(f"stdin: {exc}")
            await self._quietly(run.eof())
        finally:
            if opened is not None:
                os.close(opened)

    async def _write(self, descriptor: int, data: bytes) -> None:
        """Write all of `data`.

        Raises:
            StopError: It can't be written.
        """
        try:
            await descriptors.write(descriptor, data)
        except BrokenPipeError as exc:
            raise StopError(128 + signal.SIGPIPE) from exc
        except OSError as exc:
            name = "stdout" if descriptor == STDOUT else "stderr"
            raise StopError(outcomes.EX_IO_ERROR, f"can't write to {name}: {exc.strerror}") from exc
