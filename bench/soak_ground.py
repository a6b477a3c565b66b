"""What `soak` stands on: a Redis, three replicas, and how to break them."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Self

from bench import kit

SLOTS = 6
LEASE_S = 3
STILL_S = 4.5
"""How long a replica is stopped for, now and then: longer than its lease."""
SETTLE_S = 120.0
chance = SystemRandom()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Replica(kit.Server):
    """A server that comes back at the same place under the same name."""

    def crash(self) -> None:
        """End it as a fault of its own would, and start it again."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.__enter__()

    def descriptors(self) -> int:
        """Return how many it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def figure(self, name: str) -> float:
        """Return a sample of its metrics, summed up over its labels."""
        lines = self.get("/metrics").decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


class Ground:
    """A Redis and three replicas, of which the first is never killed: its figures are kept.

    Attributes:
        replicas: The servers.
        faults: What may go wrong; each call does it and mends it again.
        grown_mb: By how much the first one's memory has grown since `mark_memory`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._redis_port = free_port()
        self._engine = kit.RawEngine()
        self._marked = 0
        self._seen: dict[str, int] = {}
        self.grown_mb = 0.0
        url = f"redis://127.0.0.1:{self._redis_port}/0"
        self.replicas = [
            Replica(
                port=free_port(), redis_url=url, slots=SLOTS, lease_s=LEASE_S, warm_max=4,
                memory_mb=128,
            )
            for _ in range(3)
        ]  # fmt: skip
        self.faults: list[Callable[[], None]] = [
            self.kill_a_replica,
            self.stop_a_replica_longer_than_its_lease,
            self.restart_redis,
            self.kill_a_container,
            self.pause_a_container,
        ]

    def __enter__(self) -> Self:
        self._start_redis()
        for replica in self.replicas:
            replica.__enter__()
        self._settled()
        self._idle_descriptors = self.replicas[0].descriptors()
        self.mark_memory()
        return self

    def __exit__(self, *exc: object) -> None:
        for replica in self.replicas:
            replica.__exit__(*exc)
        self._redis.terminate()
        self._redis.wait()
        self._engine.close()

    def _start_redis(self) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            raise RuntimeError("soak needs redis-server")
        words = [binary, "--port", str(self._redis_port), "--bind", "127.0.0.1", "--save", ""]
        self._redis = subprocess.Popen([*words, "--dir", self._folder], stdout=subprocess.DEVNULL)
        self._await(self._redis_answers, "Redis answers")

    def _redis_answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._redis_port), 1).close()
        except OSError:
            return False
        return True

    @staticmethod
    def _await(condition: Callable[[], bool], what: str) -> None:
        until_s = time.monotonic() + SETTLE_S
        while not condition():
            if time.monotonic() > until_s:
                raise TimeoutError(f"after {SETTLE_S:g} s still not: {what}")
            time.sleep(0.1)

    # Faults.

    def kill_a_replica(self) -> None:
        """As a crash would; it comes back."""
        chance.choice(self.replicas[1:]).crash()

    def stop_a_replica_longer_than_its_lease(self) -> None:
        """As a machine that stands still."""
        pid = chance.choice(self.replicas)
        pid.process.send_signal(signal.SIGSTOP)
        time.sleep(STILL_S)
        pid.process.send_signal(signal.SIGCONT)

    def restart_redis(self) -> None:
        """It forgets everything."""
        self._redis.kill()
        self._redis.wait()
        self._start_redis()

    def kill_a_container(self) -> None:
        """From outside."""
        self._to_a_container("kill")

    def pause_a_container(self) -> None:
        """And go on with it."""
        self._to_a_container("pause", "unpause")

    def _to_a_container(self, *calls: str) -> None:
        found = [each for replica in self.replicas for each in self._containers(replica)]
        if not found:
            self._engine.close()
            return
        container = chance.choice(found)
        with contextlib.suppress(RuntimeError):  # it has just ended
            for call in calls:
                self._engine.call("POST", f"/containers/{container}/{call}")
                time.sleep(0.5)
        self._engine.close()

    def _containers(self, replica: Replica) -> list[str]:
        return self._engine.containers(replica.instance)

    # The end.

    def mark_memory(self) -> None:
        """Remember what the first replica takes."""
        self._marked = self.replicas[0].memory_bytes()

    def _left(self) -> dict[str, int]:
        first = self.replicas[0]
        spare = sum(int(each.figure("wsrunner_pool_containers")) for each in self.replicas)
        there = sum(len(self._containers(each)) for each in self.replicas)
        return {
            "slots leaked": int(first.figure("wsrunner_gate_held")),
            "places in the queue leaked": int(first.figure("wsrunner_gate_waiting")),
            "containers leaked": abs(there - spare),
        }

    def _settled(self) -> None:
        def is_settled() -> bool:
            try:
                # Pools come and go; what is looked at while one does is looked at again.
                self._seen = self._left()
            except OSError:
                return False
            return not any(self._seen.values())

        self._await(is_settled, "nothing is left of any run")

    def settle(self) -> dict[str, int]:
        """Wait for the rest of the runs to go; return what stays all the same."""
        with contextlib.suppress(TimeoutError):
            self._settled()
        first = self.replicas[0]
        self.grown_mb = (first.memory_bytes() - self._marked) / 1e6
        more = first.descriptors() - self._idle_descriptors
        tracebacks = sum(replica.log().count("Traceback") for replica in self.replicas)
        # A few connections to engine and Redis come and go.
        few = 12
        return self._seen | {
            "descriptors leaked": max(0, more - few),
            "tracebacks in the logs": tracebacks,
        }
