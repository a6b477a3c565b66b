"""A real server on a port of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from bench.kit.engine import RawEngine
from wsrunner.units import KIB

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Server:
    """A real ``wsrunner serve`` on a port of its own; ``with`` starts and stops it.

    Args:
        options: Further options, such as ``slots=1``.
    """

    def __init__(self, **options: Any) -> None:
        self.instance = f"bench-{secrets.token_hex(4)}"
        # Benches count the spares of --warm.
        self._options = {"port": 0, "instance": self.instance, "warm_terminals": 0} | options
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self.port = 0
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.command(), stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment()
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "serves on" not in line:
            self.process.wait()
            self._log.seek(0)
            raise RuntimeError(f"the server did not start: {self._log.read().decode()}")
        self.port = int(line.split()[3].rpartition(":")[2])
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()

    def command(self) -> list[str]:
        """Return the command line."""
        script = Path(sys.executable).with_name("wsrunner")
        words = [str(script), "serve"]
        for name, value in self._options.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return words

    def log(self) -> str:
        """Return what it has logged so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def memory_bytes(self) -> int:
        """Return its resident memory."""
        status = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(status.split()[1]) * PAGE_BYTES

    def peak_bytes(self) -> int:
        """Return the peak of its resident memory since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * KIB

    def forget_peak(self) -> None:
        """Let the peak begin anew at the present memory (Linux: proc(5), clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def get(self, path: str) -> bytes:
        """Return the body of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()

    def spares(self) -> dict[str, int]:
        """Return its warm containers by image."""
        counts = {}
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith("wsrunner_pool_containers{"):
                counts[line.partition('image="')[2].partition('"')[0]] = int(float(line.split()[1]))
        return counts

    def settle(
        self, engine: RawEngine, image: str = "", count: int = 0, workspaces: int = 0
    ) -> None:
        """Wait until it is idle: runs' containers are gone, `count` warm ones are there."""
        quiet_since_s = time.monotonic()
        seen = -1
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            spares = self.spares()
            alive = len(engine.containers(self.instance))
            ready = spares.get(image, 0) >= count and alive == sum(spares.values()) + workspaces
            if not ready or alive != seen:
                quiet_since_s = time.monotonic()
            seen = alive
            # A refill begins 0.3 s after a lease; what is quiet for longer stays so.
            if time.monotonic() - quiet_since_s > 0.1:
                return
            time.sleep(0.03)
        raise TimeoutError(f"no warm {image} after 60 s: {self.spares()}")


def environment() -> dict[str, str]:
    """Return an environment that sets nothing of wsrunner's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WSRUNNER_")}
