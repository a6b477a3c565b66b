"""Redis servers that belong to one test, on a unix socket in its directory."""

import os
import signal
import socket
import subprocess
import time


def free_port():
    """Return a port that is free now; a Cluster node takes the one 10,000 above too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port <= 55_000:
            return port


class RedisServer:
    """Starts on entering; `restart` keeps or drops the data."""

    def __init__(self, binary, directory, *options):
        self.binary = binary
        self.directory = directory
        self.options = options
        self.port = free_port()
        self.socket = str(directory / "redis.sock")
        self.url = f"unix://{self.socket}"
        self.tcp_url = f"redis://127.0.0.1:{self.port}/0"
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
        self.stop()

    def start(self):
        self.process = subprocess.Popen(
            [
                *(self.binary, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--unixsocket", self.socket, "--dir", str(self.directory)),
                *("--save", "", "--appendonly", "no", *self.options),
            ],
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                if self.command("PING").startswith("+PONG"):
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError("redis-server did not start")
            time.sleep(0.02)

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(10)
            self.process = None

    def restart(self, *, keep_data=False):
        if keep_data:
            self.command("SAVE")
        self.stop(signal.SIGKILL)
        if not keep_data:
            (self.directory / "dump.rdb").unlink(missing_ok=True)
        self.start()

    def freeze(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def command(self, *words):
        """Send one inline command over a fresh connection; return the raw reply."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.socket)
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(1 << 16).decode()
