"""What a program may ask of the kernel, and what it can see of the machine.

Owns the system calls that containers may make and the files of /proc and /sys that they don't see.
The list of system calls is ``seccomp.json``, in the format of Docker's own profiles: what is not
named there is refused. Like all limits of the sandbox it ends up in `config.Config`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from wsrunner.errors import SetupError

OWN = "wsrunner"
ENGINES = "default"
NONE = "unconfined"
PROFILE_MAX_BYTES = 2**20
"""Far more than a profile has; the engine is sent it with each container."""

MASKED = (
    # What Docker masks itself (20.10 to 28), as a list of one's own replaces it.
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    # How the host was started, what is in it, and what others keep busy there.
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/key-users",
    "/proc/locks",
    "/proc/modules",
    "/proc/partitions",
    "/proc/pressure",
    "/proc/softirqs",
    "/sys/block",
    "/sys/bus",
    "/sys/class",
    "/sys/dev",
    "/sys/devices/platform",
    "/sys/devices/virtual",
    "/sys/module",
)
"""Of the rest, programs read what their C library and runtimes do: cores, memory, huge pages."""


def security_options(seccomp: str) -> list[str]:
    """Return ``SecurityOpt`` of a container (Docker Engine API 1.41).

    AppArmor is not named: where the host has it, Docker then uses its profile ``docker-default``.

    Args:
        seccomp: A profile as JSON, or `ENGINES` or `NONE`.
    """
    options = ["no-new-privileges"]
    return options if seccomp == ENGINES else [*options, f"seccomp={seccomp}"]


def seccomp_profile(setting: str) -> str:
    """Return what `security_options` takes for a setting.

    Args:
        setting: `OWN`, `ENGINES`, `NONE`, or the path of a profile.

    Raises:
        SetupError: There is no such file, or no profile in it.
    """
    if setting in {ENGINES, NONE}:
        return setting
    if setting == OWN:
        return _packed(resources.files(__package__).joinpath("seccomp.json").read_bytes())
    try:
        with Path(setting).open("rb") as file:
            text = file.read(PROFILE_MAX_BYTES)
    except OSError as exc:
        raise SetupError(
            f"--seccomp: can't read the profile {setting}: {exc.strerror}; besides a file there "
            f"are {OWN}, {ENGINES} and {NONE}"
        ) from exc
    try:
        return _packed(text)
    except KeyError as exc:
        raise SetupError(f"--seccomp: {setting} is no seccomp profile: it has no {exc}") from exc
    except (ValueError, TypeError) as exc:
        raise SetupError(f"--seccomp: {setting} is no seccomp profile: {exc}") from exc


def _packed(text: bytes) -> str:
    """Check the outline of a profile, and return it without what the engine need not read."""
    profile = json.loads(text)
    if not isinstance(profile["defaultAction"], str):
        raise TypeError("its defaultAction is no text")
    rules: Sequence[dict[str, object]] = profile.get("syscalls", [])
    profile["syscalls"] = [
        {key: value for key, value in dict(rule).items() if key != "comment"} for rule in rules
    ]
    return json.dumps(profile, separators=(",", ":"))
