"""Reading and writing this process's stdin, stdout and stderr without ever blocking the event loop.

The loop must hear Ctrl-C. O_NONBLOCK is no way: it would hold for all processes that share the
terminal or pipe.
"""

from __future__ import annotations

import asyncio
import os
import select

from wsrunner.units import KIB

STDIN, STDOUT, STDERR = 0, 1, 2

READ_BYTES = 64 * KIB
WRITE_BYTES = 4096
"""PIPE_BUF: a write of no more never blocks on a pipe that poll calls writable (POSIX write)."""


def ensure_open() -> None:
    """Open /dev/null for each of descriptors 0 to 2 that is closed.

    Or the next socket gets its number, and a program's output would be written into it.
    """
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


async def read(descriptor: int) -> bytes:
    """Return what is there to read, at least one byte; empty at the end of the file."""
    while True:
        await _until_ready(descriptor, write=False)
        try:
            return os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            continue
        except OSError:
            return b""  # EIO: the terminal is gone, or this is no longer its foreground job


async def write(descriptor: int, data: bytes) -> None:
    """Write all of `data`.

    Raises:
        OSError: It can't be written.

    Cancelling is safe, but an unknown part of `data` has been written.
    """
    rest = memoryview(data)
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    while rest:
        if not poll.poll(0):
            await _until_ready(descriptor, write=True)
            continue
        try:
            rest = rest[os.write(descriptor, rest[:WRITE_BYTES]) :]
        except BlockingIOError:
            await _until_ready(descriptor, write=True)


async def _until_ready(descriptor: int, *, write: bool) -> None:
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
