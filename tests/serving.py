"""A real server for tests: a process of its own, with a look at what it leaves on the engine."""

import json
import os
import re
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from websockets.asyncio.client import connect

from tests.talk import PATIENCE_S, open_talk

COMMAND = Path(sys.executable).with_name("wsrunner")
QUIET = {"WSRUNNER_LOG_LEVEL": "debug"}
LEASE_S = 20
"""Where nothing may be lost, so that a machine that stands still for a moment loses nothing."""
SHORT_LEASE_S = 3
"""Where the test waits for its end."""


def environment(**variables):
    """Return this process's environment without settings of a server of the person's own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WSRUNNER_")}
    return kept | variables


def until(condition, what, patience_s=PATIENCE_S):
    """Wait until `condition` returns something true, and return that."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {patience_s} s still not: {what}")
        time.sleep(0.05)
    return value


def docker(*arguments, host=None, check=True, **options):
    """Run the docker command; return its output."""
    env = os.environ | ({"DOCKER_HOST": host} if host else {})
    done = subprocess.run(
        ["docker", *arguments], env=env, capture_output=True, text=True, check=False, **options
    )
    assert not check or done.returncode == 0, f"docker {arguments}: {done.stderr}"
    return done.stdout


def containers(instance, host=None):
    """Return the ids of the engine's containers, in any state, that belong to an instance."""
    label = f"label=wsrunner.instance={instance}"
    return set(docker("ps", "-aq", "--no-trunc", "--filter", label, host=host).split())


class Serving:
    """One `wsrunner serve`, on a port and with an instance name of its own.

    Args:
        log: File for its log.
        options: Its command-line options by setting name.
        docker_host: Address of the engine, if not the usual one.
    """

    def __init__(self, log, *, docker_host=None, **options):
        self.log = log
        self.docker_host = docker_host
        self.instance = options.setdefault("instance", f"test-{secrets.token_hex(6)}")
        self.token = options.get("token")
        options.setdefault("port", 0)
        options.setdefault("warm", "")
        # Tests count the spares of --warm.
        options.setdefault("warm_terminals", 0)
        self.options = options

    def start(self):
        """Start the process and wait until it says where it listens."""
        arguments = [
            f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}")
            for key, value in self.options.items()
        ]
        variables = {**QUIET} | ({"DOCKER_HOST": self.docker_host} if self.docker_host else {})
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [COMMAND, "serve", *arguments],
                env=environment(**variables),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.welcome = []
        for line in self.process.stdout:
            self.welcome.append(line)
            if found := re.search(r"https?://(\S+)", line):
                self.address = found[1]
                break
        else:
            raise AssertionError(f"the server did not start: {self.log.read_text()}")
        return self

    @property
    def url(self):
        return f"{'wss' if self.certificate else 'ws'}://{self.address}"

    @property
    def certificate(self):
        """The file of the certificate it serves with, if it speaks TLS."""
        return self.options.get("tls_cert")

    def trusting(self):
        """Return what clients need to know to connect, as options of websockets and urllib."""
        if not self.certificate:
            return {}
        return {"ssl": ssl.create_default_context(cafile=self.certificate)}

    @property
    def pid(self):
        return self.process.pid

    def talk(self, **options):
        """Open a socket of the JSON protocol."""
        return open_talk(self.url, **self.trusting(), **options)

    def plain(self, language, **options):
        """Open a socket of the plain protocol."""
        url = f"{self.url}/v1/run/{language}"
        return connect(
            url,
            compression=None,
            max_size=None,
            open_timeout=PATIENCE_S,
            **self.trusting(),
            **options,
        )

    def get(self, path):
        """Return the body of a GET."""
        url = self.url.replace("ws", "http", 1)
        request = urllib.request.Request(f"{url}{path}")
        if self.token:
            request.add_header("X-Access-Token", self.token)
        context = self.trusting().get("ssl")
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=context) as response:
            return response.read().decode()

    def status(self, path):
        """Return the status code of a GET."""
        try:
            self.get(path)
        except urllib.error.HTTPError as exc:
            return exc.code
        return 200

    def languages(self):
        return json.loads(self.get("/v1/languages"))

    def metrics(self):
        """Return sample → value; a metric with labels is summed up under its bare name too."""
        samples = {}
        for line in self.get("/metrics").splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
                if "{" in name:
                    bare = name.partition("{")[0]
                    samples[bare] = samples.get(bare, 0.0) + float(value)
        return samples

    def containers(self):
        """Return the ids of its containers, in any state."""
        return containers(self.instance, self.docker_host)

    def _idle(self):
        before = self.metrics()
        found = self.containers()
        after = self.metrics()
        spares = before.get("wsrunner_pool_containers", 0)
        same = spares == after.get("wsrunner_pool_containers", 0)
        held = after["wsrunner_gate_held"] + after["wsrunner_gate_waiting"]
        return same and held == 0 and len(found) == spares

    def settle(self):
        """Wait until no run is left, nor any container but warm spares."""
        until(self._idle, "all slots free and only warm containers left")

    def free(self):
        """Wait until all slots are free."""
        until(lambda: self.metrics()["wsrunner_gate_held"] == 0, "all slots free")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Wait for the process's end; return its exit code."""
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        return code

    def kill(self):
        """End it as a crash would."""
        self.process.kill()
        self.wait()

    def stop(self):
        """End it in order, if it still runs; none of its containers may be left then."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            assert self.wait() == 0
        else:
            self.process.stdout.close()

    def resident_kb(self):
        """Return its resident memory (proc(5), status)."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1])

    def peak_kb(self):
        """Return the most its resident memory ever was."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text)[1])
