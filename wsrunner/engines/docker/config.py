"""The body of ``POST /containers/create``: every limit of the sandbox.

Fields are those of the Docker Engine API 1.41.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from wsrunner.engines.base import SPACE_LIFE_S, Box
from wsrunner.engines.dialogue.dialogue import first_process, space_process
from wsrunner.engines.docker import sandbox

LABEL_INSTANCE = "wsrunner.instance"
LABEL_BOOT = "wsrunner.boot"
LABEL_LIFE_S = "wsrunner.life_s"
LABEL_SPACE = "wsrunner.workspace"
LABEL_LASTS_S = "wsrunner.lasts_s"
"""On a workspace that any server may go on with."""
SPACE_CAPABILITIES = ("CHOWN", "KILL", "SETGID", "SETUID")
"""What a workspace's first process has beyond its programs; see ``dialogue/space.sh``."""
SPACE_PIDS = 4
"""Its own processes beside the bootstrap: itself, the feeder with a `head`, the watchdog. The
bootstrap has none of its own here, which is one less than in a run's container; one is to spare."""
WORK_DIR = "/home/glot"
TMP_BYTES = 64 * 2**20
NOFILE_MAX = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What all containers of one engine's client have in common.

    Attributes:
        instance: The server's name, on each container's label.
        boot: The same for this process of it.
        life_s: Seconds after which none of them can be in use any more.
        runtime: The engine's name of the OCI runtime, such as ``runc``.
        security_options: See `sandbox.security_options`.
    """

    instance: str
    boot: str
    life_s: float
    runtime: str
    security_options: Sequence[str]

    def of_run(self, box: Box, uid: int) -> dict[str, Any]:
        """Return the body for a container that runs one program as the user `uid`."""
        own = f"uid={uid},gid={uid},mode=0755"
        return {
            "Image": box.image,
            "Entrypoint": first_process(tty=box.tty, ahead=box.ahead),
            "User": f"{uid}:{uid}",
            "WorkingDir": WORK_DIR,
            "Env": [f"HOME={WORK_DIR}", "LANG=C.UTF-8", *(["TERM=xterm-256color"] * box.tty)],
            "Labels": {
                LABEL_INSTANCE: self.instance,
                LABEL_BOOT: self.boot,
                LABEL_LIFE_S: f"{self.life_s:g}",
            },
            "Hostname": "wsrunner",
            "Tty": box.tty,
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "NetworkDisabled": True,
            # When the engine stops: SIGTERM would reach the program and look like its own end.
            "StopSignal": "SIGKILL",
            "HostConfig": {
                "AutoRemove": True,
                "NetworkMode": "none",
                "Runtime": self.runtime,
                "LogConfig": {"Type": "none"},
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": self.security_options,
                "MaskedPaths": sandbox.MASKED,
                "ShmSize": TMP_BYTES,
                "Memory": box.memory_bytes,
                "MemorySwap": box.memory_bytes,
                "PidsLimit": box.pids,
                "NanoCpus": round(box.cpus * 1e9),
                "Tmpfs": {
                    "/tmp": f"rw,noexec,nosuid,nodev,size={TMP_BYTES},mode=1777",  # noqa: S108
                    WORK_DIR: f"rw,exec,nosuid,nodev,size={box.disk_bytes},{own}",
                },
                "Ulimits": [
                    {"Name": "core", "Soft": 0, "Hard": 0},
                    {"Name": "nofile", "Soft": NOFILE_MAX, "Hard": NOFILE_MAX},
                    {"Name": "fsize", "Soft": box.disk_bytes, "Hard": box.disk_bytes},
                ],
            },
        }

    def of_space(self, box: Box, uid: int, label: str, lasts_s: float | None) -> dict[str, Any]:
        """Return the same for a workspace: its first process is another user than its programs."""
        config = self.of_run(box, uid)
        config["Entrypoint"] = space_process(uid, lasts_s)
        config["User"] = "0:0"
        config["Labels"] |= {LABEL_SPACE: label, LABEL_LIFE_S: f"{SPACE_LIFE_S:g}"}
        if lasts_s is not None:
            config["Labels"][LABEL_LASTS_S] = f"{lasts_s:g}"
            # Else it would end when the server leaves it.
            config["StdinOnce"] = False
        host = config["HostConfig"]
        host["CapAdd"] = list(SPACE_CAPABILITIES)
        host["PidsLimit"] += SPACE_PIDS
        return config
