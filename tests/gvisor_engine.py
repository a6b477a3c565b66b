"""An engine for tests that knows gVisor: one of its own, as the machine's is everybody's.

An error under CI=true if gVisor is missing, a skip elsewhere.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.docker_fixtures import absent
from tests.serving import docker, until

RUNTIME_ARGS = ["--network=none", "--platform=ptrace"]
"""As docs/security.md has them; `ptrace` needs no virtualization."""


def _config(runsc):
    return {"runtimes": {"runsc": {"path": runsc, "runtimeArgs": RUNTIME_ARGS}}}


@contextlib.contextmanager
def gvisor_engine(images):
    """Run an engine with gVisor for the length of the block; yields its address.

    Args:
        images: Names of images of the machine's engine that it gets.
    """
    runsc = shutil.which("runsc") or absent("runsc")
    dockerd = shutil.which("dockerd") or absent("dockerd")
    if os.geteuid() != 0:
        absent("root, for an engine of the tests' own")
    # Not pytest's folder: paths of sockets have 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="wsrunner-gvisor-"))
    host = f"unix://{folder}/docker.sock"
    (folder / "daemon.json").write_text(json.dumps(_config(runsc)))
    options = {
        "config-file": folder / "daemon.json",
        "data-root": folder / "data",
        "exec-root": folder / "exec",
        "pidfile": folder / "pid",
        "host": host,
        "bridge": "none",
        "iptables": "false",
        "ip-masq": "false",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("w") as log:
        # In a network of its own: `--bridge=none` removes the bridge docker0, and the one it would
        # find here is the machine's engine's.
        engine = subprocess.Popen(["unshare", "--net", dockerd, *arguments], stdout=log, stderr=log)
    try:
        until(lambda: _answers(engine, host, folder), "the engine with gVisor answers")
        for image in images:
            _copy(image, host)
        yield host
    finally:
        engine.terminate()
        engine.wait()
        shutil.rmtree(folder)


def _answers(engine, host, folder):
    assert engine.poll() is None, (folder / "log").read_text()
    return docker("info", "--format", "{{.ID}}", host=host, check=False).strip()


def _copy(image, host):
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
        docker("load", host=host, stdin=saved.stdout)
    assert saved.returncode == 0
