"""The deployment of compose.yml: Redis, a balancer, three replicas, all from local images."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import absent
from tests.serving import containers, docker, environment, until
from tests.talk import PATIENCE_S, open_talk
from wsrunner.images import services
from wsrunner.settings import Settings, declared

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
REPLICAS = 3
LEASE_S = 3
DRAIN_S = 3
TOKEN = secrets.token_hex(16)
SLEEP = "import time; time.sleep(60)"
BUILD_STAGE = ("--filter", "dangling=true", "--filter", "label=wsrunner.stage=build")


class Deployment:
    """What `docker compose up --scale wsrunner=3` starts, under a project name of its own."""

    def __init__(self, command, images):
        self.project = f"wsrunner-test-{secrets.token_hex(4)}"
        self.command = [*command, "--project-name", self.project, "--file", ROOT / "compose.yml"]
        self.image = f"{self.project}:latest"
        self.env = environment(
            **images,
            IMAGE=self.image,
            BUILD_NETWORK="none",
            DOCKER_GID=str(Path("/var/run/docker.sock").stat().st_gid),
            PUBLISH="127.0.0.1:0",
            WSRUNNER_TOKEN=TOKEN,
            WSRUNNER_SLOTS=str(REPLICAS),
            WSRUNNER_LEASE_S=str(LEASE_S),
            WSRUNNER_DRAIN_S=str(DRAIN_S),
            WSRUNNER_WARM_MAX="0",
        )
        self.built = set()

    def compose(self, *arguments, check=True):
        done = subprocess.run(
            [*self.command, *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"compose {arguments}: {done.stderr}"
        return done.stdout

    def build(self):
        before = set(docker("images", "-q", "--no-trunc", *BUILD_STAGE).split())
        self.compose("build", "wsrunner")
        self.built = set(docker("images", "-q", "--no-trunc", *BUILD_STAGE).split()) - before

    def up(self):
        self.compose("up", "--detach", "--no-recreate", "--scale", f"wsrunner={REPLICAS}")
        self.address = self.compose("port", "balancer", "8001").strip()
        until(lambda: self.status("/readyz") == 200, "a replica is ready")

    def down(self):
        self.compose("down", "--volumes", "--timeout", "5", check=False)
        # An engine that is busy with another container may take for ever to remove an image.
        with contextlib.suppress(subprocess.TimeoutExpired):
            docker("rmi", self.image, *self.built, check=False, timeout=30)

    @property
    def replicas(self):
        """The replicas' container ids."""
        return self.compose("ps", "-q", "wsrunner").split()

    def containers(self, replica):
        """Return the ids of the containers in which a replica's runs are."""
        return containers(f"{replica[:12]}:8001")

    def all_containers(self):
        return {run for replica in self.replicas for run in self.containers(replica)}

    def inspect(self, container, field):
        return json.loads(docker("inspect", "--format", f"{{{{json .{field}}}}}", container))

    def get(self, path, token=TOKEN):
        request = urllib.request.Request(f"http://{self.address}{path}")
        if token:
            request.add_header("X-Access-Token", token)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.read().decode()

    def status(self, path, token=TOKEN):
        try:
            self.get(path, token)
        except urllib.error.HTTPError as exc:
            exc.close()
            return exc.code
        except OSError:
            return None
        return 200

    def talk(self, token=TOKEN):
        headers = {"X-Access-Token": token} if token else {}
        return open_talk(f"ws://{self.address}", additional_headers=headers)

    @contextlib.asynccontextmanager
    async def spread(self, code="input()", **fields):
        """Open sockets to all replicas, each with a live run ``held``; yields (replica, talk)."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            async with contextlib.AsyncExitStack() as stack:
                found = {}
                for _ in range(REPLICAS):
                    before = self.all_containers()
                    talk = await stack.enter_async_context(self.talk())
                    await talk.say("run", id="held", language="python", code=code, **fields)
                    await talk.hear_started(id="held")
                    for replica in self.replicas:
                        if self.containers(replica) - before:
                            found[replica] = talk
                if len(found) == REPLICAS:
                    yield list(found.items())
                    return
            # A replica that has just started is not in the balancer's list at once.
            assert time.monotonic() < deadline, f"only {len(found)} replicas get sockets"
            await asyncio.to_thread(self.settle)

    def settle(self):
        until(lambda: not self.all_containers(), "no run is left")
        until(lambda: "wsrunner_gate_held 0.0" in self.get("/metrics"), "all slots are free")


def compose_command():
    for command in (["docker-compose"], ["docker", "compose"]):
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
                continue
            return command
    return absent("docker-compose")


@pytest.fixture(scope="module")
def deployment(need, service_images):
    need("python")
    command = compose_command()
    # The image's build gets no network: what it installs is put beside the Dockerfile first.
    subprocess.run(["make", "-C", ROOT, "wheels"], check=True)
    deployment = Deployment(command, service_images)
    try:
        deployment.build()
        deployment.up()
        yield deployment
        assert "Traceback" not in deployment.compose("logs", "--no-color")
    finally:
        deployment.down()


@pytest.fixture
def cluster(deployment):
    """The deployment with all its replicas; each test must leave it without a run."""
    deployment.up()
    yield deployment
    deployment.settle()


async def closing(talk):
    """Return the code with which the server closes the socket; None if it just vanishes."""
    try:
        while True:
            await talk.hear()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


async def test_a_run_goes_through_the_balancer(cluster):
    async with cluster.talk() as talk:
        outcome = await talk.run("python", "import sys; print(sys.stdin.read())", stdin="hi")
        assert (outcome.stdout, outcome.code) == ("hi\n", 0)


async def test_a_large_output_passes_whole(cluster):
    async with cluster.talk() as talk:
        outcome = await talk.run("python", "for n in range(200_000): print(n)")
        assert outcome.stdout == "".join(f"{n}\n" for n in range(200_000))


async def test_the_plain_protocol_passes_with_its_close_reason(cluster):
    async with connect(
        f"ws://{cluster.address}/v1/run/python", additional_headers={"X-Access-Token": TOKEN}
    ) as socket:
        await socket.send("print(6 * 7)")
        assert await socket.recv() == "42\n"
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (1000, "exit 0")


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_no_socket_without_the_token(cluster, token):
    with pytest.raises(InvalidStatus) as refused:
        async with cluster.talk(token):
            pass
    assert refused.value.response.status_code == 401


def test_what_is_open_is_open_and_the_rest_is_not(cluster):
    assert cluster.status("/healthz", None) == cluster.status("/readyz", None) == 200
    assert cluster.status("/metrics", None) == 401


async def test_containers_run_without_privileges(cluster):
    services = cluster.compose("ps", "-q").split()
    assert len(services) == REPLICAS + 3
    for container in services:
        assert cluster.inspect(container, "Config.User") not in {"", "0", "root"}
        assert cluster.inspect(container, "HostConfig.ReadonlyRootfs")
        assert cluster.inspect(container, "HostConfig.CapDrop") == ["ALL"]


def test_only_the_service_with_the_rules_has_the_engine_s_socket(cluster):
    (engine,) = cluster.compose("ps", "-q", "engine").split()
    for container in cluster.compose("ps", "-q").split():
        mounts = json.dumps(cluster.inspect(container, "Mounts"))
        assert ("docker.sock" in mounts) == (container == engine)
        networks = cluster.inspect(container, "NetworkSettings.Networks")
        reaches = any(name.endswith("_engine") for name in networks)
        assert reaches == (container == engine or container in cluster.replicas)


async def test_docker_finds_every_container_healthy(cluster):
    for container in cluster.compose("ps", "-q").split():
        until(
            lambda name=container: cluster.inspect(name, "State.Health.Status") == "healthy",
            "the container is healthy",
        )


async def test_positions_move_across_replicas(cluster):
    async with cluster.spread() as [(_, a), (_, b), (_, c)]:
        for place, talk in enumerate((a, b, c), 1):
            await talk.say("run", id="next", language="python", code="input()")
            assert (await talk.hear_kind("queued", "next"))["position"] == place
        await c.say("eof", id="held")
        await a.hear_started(id="next")
        await hear_position(b, 1)
        await hear_position(c, 2)
        await a.say("eof", id="next")
        await b.hear_started(id="next")
        await hear_position(c, 1)


async def hear_position(talk, position):
    while (event := await talk.hear())["type"] != "queued" or event["position"] != position:
        pass


async def test_a_workspace_is_the_same_on_all_replicas(cluster):
    code = "open('f', 'a').write('x'); print(len(open('f').read()))"
    async with cluster.spread() as held:
        for number, (_, talk) in enumerate(held, 1):
            await talk.say("eof", id="held")
            await talk.finish("held")
            outcome = await talk.run("python", code, workspace="w")
            assert outcome.stdout == f"{number}\n", outcome.events
        _, talk = held[0]
        await talk.say("forget", workspace="w")
        assert (await talk.hear_kind("forgotten"))["workspace"] == "w"


async def test_the_queue_moves_on_when_a_replica_is_killed(cluster):
    async with cluster.spread(SLEEP, limits={"wall_s": 20}) as [(dead, a), (_, b), (_, c)]:
        await b.say("run", id="next", language="python", code="print(1)")
        await b.hear_kind("queued", "next")
        left = cluster.containers(dead)
        assert left
        # Docker does not restart what was killed by command, so no successor cleans up.
        docker("kill", dead)
        assert await closing(a) is None
        assert (await b.finish("next")).stdout == "1\n"
        for talk in (b, c):  # it was not one of their slots that came free
            await talk.say("cancel", id="held")
            assert (await talk.finish("held")).reason == "cancelled"
        # The watchdog in the container ends what nobody reads any more.
        await asyncio.to_thread(
            until, lambda: not cluster.containers(dead), "the dead one's run is gone"
        )


async def test_a_crashed_replica_comes_back_and_removes_what_it_left(cluster):
    async with cluster.spread(SLEEP) as [(crashed, a), (_, b), (_, c)]:
        pid = cluster.inspect(crashed, "State.Pid")
        os.kill(pid, signal.SIGKILL)
        assert await closing(a) is None
        await asyncio.to_thread(
            until, lambda: not cluster.containers(crashed), "the crashed one's run is gone"
        )
        assert cluster.inspect(crashed, "RestartCount") == 1
        for talk in (b, c):
            await talk.say("cancel", id="held")
            assert (await talk.finish("held")).reason == "cancelled"


async def test_a_replica_that_is_stopped_drains_while_others_serve(cluster):
    async with cluster.spread("print(input())") as [(stopped, a), _, (_, c)]:
        await c.say("cancel", id="held")
        await c.finish("held")
        stop = asyncio.create_task(asyncio.to_thread(docker, "stop", "--time", "20", stopped))
        await a.say("run", id="late", language="python", code="")
        while not (late := await a.finish("late")).error:
            await a.say("run", id="late", language="python", code="")
        assert late.error["code"] == "draining"
        # What runs goes on, and new sockets find another replica.
        async with cluster.talk() as talk:
            assert (await talk.run("python", "print(1)")).stdout == "1\n"
        await a.say("stdin", id="held", data="still here\n")
        assert (await a.finish("held")).stdout == "still here\n"
        assert await closing(a) == 1001
        await stop
        assert cluster.inspect(stopped, "State.ExitCode") == 0


async def test_stop_drains_all_and_sockets_close_with_1001(deployment):
    deployment.up()
    async with deployment.spread(SLEEP) as held:
        talks = [talk for _, talk in held]
        await talks[2].say("run", id="next", language="python", code="")
        await talks[2].hear_kind("queued", "next")
        stopped_at = time.monotonic()
        stop = asyncio.create_task(asyncio.to_thread(deployment.compose, "stop"))
        assert (await talks[2].finish("next")).reason == "draining"
        for talk in talks:
            assert (await talk.finish("held")).reason == "draining"
            assert time.monotonic() - stopped_at >= DRAIN_S
            assert await closing(talk) == 1001
        await stop
        for replica, _ in held:
            assert deployment.inspect(replica, "State.ExitCode") == 0
        assert not deployment.all_containers()


def test_defaults_are_those_of_the_other_files():
    for service in services.load():
        assert f"${{{service.variable}:-{service.image}}}" in COMPOSE
    (base, *_) = services.load()
    assert f"ARG BASE_IMAGE={base.image}\n" in DOCKERFILE


def test_only_settings_are_passed_to_the_server():
    variables = set(re.findall(r"^      (WSRUNNER_\w+):", COMPOSE, re.MULTILINE))
    assert variables
    assert variables <= {setting.variable for setting in declared()}


def test_docker_waits_longer_than_a_drain_takes():
    grace_s = int(re.search(r"STOP_GRACE_PERIOD:-(\d+)s", COMPOSE)[1])
    assert grace_s >= Settings().drain_s + 15


@pytest.mark.parametrize("variable", ["WSRUNNER_TOKEN", "DOCKER_GID"])
def test_a_missing_variable_is_named(variable, tmp_path):
    # Away from a .env file of the person's own.
    file = tmp_path / "compose.yml"
    file.write_text(COMPOSE)
    env = environment(WSRUNNER_TOKEN="t", DOCKER_GID="1")
    del env[variable]
    done = subprocess.run(
        [*compose_command(), "--file", file, "config"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert variable in done.stderr
