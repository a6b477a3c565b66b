"""An engine without containers: the bootstrap as a plain process of this machine, for tests.

The same contract and the same dialogue as Docker's engine, so that runs can be tested where there
is none. Nothing is isolated, and the figures of a report are not the program's alone.
"""

import asyncio
import contextlib
import fcntl
import os
import pty
import shutil
import signal
import struct
import tempfile
import termios
from pathlib import Path

from wsrunner import languages
from wsrunner.engines.base import STDERR, STDOUT, Ended, Frame
from wsrunner.engines.dialogue.dialogue import READY, Dialogue, first_process, stand_in
from wsrunner.errors import EngineUnavailableError

READ_BYTES = 64 * 1024
AHEAD = 4
"""Reads that wait for `read`; then the pipe fills and the program blocks."""


class ProcessContainer:
    """A process in a directory of its own."""

    def __init__(self, box, folder):
        self._tty = box.tty
        self._ahead = box.ahead
        self._folder = folder
        self._items = asyncio.Queue(AHEAD)
        self._open = 0
        self._dialogue = None
        self._destroyed = False

    async def start(self):
        # A terminal's own session makes it the controlling one; without, the session is what
        # `destroy` finds the processes by.
        environment = {
            "HOME": str(self._folder),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            **({"TERM": "xterm-256color"} if self._tty else {}),
        }
        if self._tty:
            master, slave = pty.openpty()
            self._master = master
            ends = {"stdin": slave, "stdout": slave, "stderr": slave}
        else:
            pipe = asyncio.subprocess.PIPE
            ends = {"stdin": pipe, "stdout": pipe, "stderr": pipe}
        # A container has a /tmp of its own; here, that of the machine is everybody's, and what one
        # first process notes for its keeper would now and then be another's.
        command = first_process(tty=self._tty, ahead=self._ahead)
        own = [word.replace("notes=/tmp", f"notes={self._folder}") for word in command]
        assert own != command
        self._process = await asyncio.create_subprocess_exec(
            *own,
            **ends,
            env=environment,
            cwd=self._folder,
            start_new_session=True,
            preexec_fn=_take_terminal if self._tty else None,
        )
        if self._tty:
            os.close(slave)
            reader = asyncio.StreamReader(READ_BYTES)
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(master, "rb", 0)
            )
            self._stdin, _ = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, os.fdopen(os.dup(master), "wb", 0)
            )
            self._pump(STDOUT, reader)
        else:
            self._stdin = self._process.stdin.transport
            self._pump(STDOUT, self._process.stdout)
            self._pump(STDERR, self._process.stderr)
        if self._tty or self._ahead is not None:
            assert await self._items.get() == Frame(STDOUT, READY)
        return self

    def _pump(self, stream, reader):
        self._open += 1
        task = asyncio.create_task(self._copy(stream, reader))
        self._pumps = [*getattr(self, "_pumps", []), task]

    async def _copy(self, stream, reader):
        # The terminal's end shows as an error (EIO).
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await self._items.put(Frame(stream, data))
        self._open -= 1
        await self._items.put(None)

    @property
    def id(self):
        return str(self._process.pid)

    @property
    def alive(self):
        return self._open > 0 and not self._destroyed

    @property
    def unread_stdin_bytes(self):
        return self._stdin.get_write_buffer_size()

    def begin(self, plan):
        self._dialogue = Dialogue(plan, self._ahead)
        self.write(self._dialogue.request)

    def write(self, data):
        if self._stdin.is_closing() or self._destroyed or not self._open:
            raise EngineUnavailableError("the process takes no more input")
        self._stdin.write(data)

    async def drain(self):
        while self.unread_stdin_bytes and not self._stdin.is_closing():
            await asyncio.sleep(0.005)

    def write_eof(self):
        if self._stdin.is_closing():
            return
        if self._tty:
            self._stdin.write(b"\x04")
        else:
            self._stdin.write_eof()

    async def read(self, timeout_s=None):
        while True:
            frames = await self._frames(timeout_s)
            if not frames:
                return self._dialogue.rest()
            if items := self._dialogue.take(frames):
                return items

    async def _frames(self, timeout_s):
        frames = []
        while not frames and (self._open or not self._items.empty()):
            async with asyncio.timeout(None if timeout_s is None else max(0.0, timeout_s)):
                frames.append(await self._items.get())
            while not self._items.empty():
                frames.append(self._items.get_nowait())
            frames = [frame for frame in frames if frame is not None]
        return frames

    async def signal(self, name):
        try:
            self._process.send_signal(getattr(signal, stand_in(name)))
        except ProcessLookupError as exc:
            raise EngineUnavailableError("the process has ended") from exc

    async def resize(self, columns, rows):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def cpu_used_s(self):
        return 0.0

    async def ended(self):
        return Ended.KILLED

    async def destroy(self):
        if self._destroyed:
            return
        self._destroyed = True
        # One that forks at this moment leaves a child behind: until there are none.
        while pids := _session(self._process.pid):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.001)
        # Closed already where all was written and ended; closing it twice fails (CPython 3.11).
        if not self._stdin.is_closing():
            self._stdin.abort()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._open = 0
        await self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class ProcessEngine:
    """The engine's contract over plain processes; has an "image" for every language."""

    def __init__(self):
        self._live = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await asyncio.gather(*(container.destroy() for container in self._live))

    async def ping(self):
        pass

    async def name(self):
        return "processes"

    def on_change(self, listener):
        pass

    async def images(self):
        return {language.image: language.image for language in languages.load()}

    async def labels(self, image):
        return {}

    async def start(self, box):
        container = ProcessContainer(box, Path(tempfile.mkdtemp(prefix="wsrunner-test-")))
        self._live.append(container)
        return await container.start()

    async def sweep(self):
        return 0


def _take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _session(leader):
    """Return the live processes of a session (proc(5), fields 3 and 6 of stat)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found
