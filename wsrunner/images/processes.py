"""Programs that make images: each is told apart by its stderr, and ends with its context.

Imports nothing of wsrunner.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping

LINE_MAX = 300
"""Characters of a line that an error quotes."""


@contextlib.asynccontextmanager
async def running(
    *command: str, env: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command with its stderr piped; its whole process group ends with the context."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(10):
                    await process.communicate()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
