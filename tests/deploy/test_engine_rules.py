"""The rules before the engine's socket: what servers ask passes, what would be more does not."""

import http.client
import json
import re
import secrets
from pathlib import Path

import pytest

from tests.serving import docker, until
from wsrunner.engines.base import Box
from wsrunner.engines.docker.engine import DockerEngine
from wsrunner.settings import UIDS
from wsrunner.units import MIB

COMPOSE = (Path(__file__).parents[2] / "compose.yml").read_text()
IMAGE = "wsrunner/haproxy:debian"
ID = "ab" * 32


def rules():
    """Return the configuration that compose.yml has for the service before the engine."""
    service = COMPOSE.partition("\n  engine:\n")[2]
    block = service.partition("HAPROXY_CFG: |\n")[2].partition("\n    healthcheck:")[0]
    return re.sub(r"^ {8}", "", block, flags=re.MULTILINE).replace("$$", "$") + "\n"


@pytest.fixture(scope="module")
def rule_port(service_images):
    """The port of a proxy with these rules before this machine's engine."""
    assert IMAGE in service_images.values()
    name = f"wsrunner-test-{secrets.token_hex(4)}"
    group = str(Path("/var/run/docker.sock").stat().st_gid)
    script = 'printf %s "$CFG" >/tmp/cfg && exec haproxy -W -db -f /tmp/cfg'
    options = (
        *("--detach", "--name", name, "--publish", "127.0.0.1:0:2375", "--tmpfs", "/tmp"),
        *("--volume", "/var/run/docker.sock:/var/run/docker.sock", "--group-add", group),
        *("--user", "65534", "--env", f"CFG={rules()}", "--entrypoint", "sh"),
    )
    try:
        docker("run", *options, IMAGE, "-c", script)
        port = int(docker("port", name, "2375").split(":")[-1])
        until(lambda: answer(port, "GET", "/_ping") == 200, "the proxy answers")
        yield port
    finally:
        docker("rm", "--force", name)


def answer(port, method, path, body=None):
    """Return the status of an answer; None if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def config():
    """Return what a server asks a container to be."""
    box = Box(image="none", tty=False, memory_bytes=64 * MIB, pids=9, cpus=1, disk_bytes=MIB)
    return DockerEngine(instance="rules", uids=UIDS).config.of_run(box, UIDS[0])


async def test_a_server_has_all_it_needs(rule_port, start_server):
    server = start_server(docker_host=f"tcp://127.0.0.1:{rule_port}", warm_max=0)
    server.docker_host = None
    async with server.talk() as talk:
        until(lambda: server.status("/readyz") == 200, "ready")
        outcome = await talk.run("python", "print(1)", id="a")
        assert outcome.stdout == "1\n", outcome
        await talk.say("run", id="b", language="python", code="input()", tty={})
        await talk.hear_started(id="b")
        await talk.say("resize", id="b", columns=90, rows=20)
        await talk.say("signal", id="b", signal="SIGTERM")
        assert (await talk.finish("b")).signal == "SIGTERM"
        chain = "import os\nwhile True:\n if os.fork(): os.wait()\n else:\n  sum(range(10**6))"
        outcome = await talk.run("python", chain, id="c", limits={"cpu_s": 1, "wall_s": 40})
        assert outcome.reason in {"cpu_limit", "exited"}
        spaces = [await talk.run("python", "print(2)", id=i, workspace="w") for i in "de"]
        assert [outcome.stdout for outcome in spaces] == ["2\n", "2\n"]
    server.stop()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1.41/secrets"),
        ("GET", "/v1.41/containers/name/json"),
        ("GET", f"/v1.41/containers/{ID}/archive?path=/"),
        ("GET", f"/containers/{ID}/logs?stdout=1"),
        ("PUT", f"/v1.41/containers/{ID}/archive?path=/"),
        ("POST", f"/v1.41/containers/{ID}/exec"),
        ("POST", f"/v1.41/containers/{ID}/update"),
        ("POST", "/v1.41/build"),
        ("POST", "/v1.41/images/create?fromImage=x"),
        ("DELETE", "/v1.41/images/x"),
        ("POST", "/v1.41/containers/prune"),
        ("POST", "/v1.41/containers/name/kill"),
        ("POST", "/v1.41/../v1.41/containers/create"),
        ("DELETE", "/v1.41/containers/json"),
    ],
)
def test_other_calls_are_refused(rule_port, method, path):
    assert answer(rule_port, method, path, "{}") == 403


MORE = {
    "privileged": {"Privileged": True},
    "in another case": {"pRIVILEGED": True},
    "a mount": {"Binds": ["/:/host"]},
    "another mount": {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]},
    "the host's network": {"NetworkMode": "host"},
    "the host's processes": {"PidMode": "host"},
    "a device": {"Devices": [{"PathOnHost": "/dev/sda"}]},
    "a capability": {"CapAdd": ["SYS_ADMIN"]},
    "one more": {"CapAdd": ["CHOWN", "KILL", "SETGID", "SETUID", "SYS_ADMIN"]},
    "what is hidden": {"ReadonlyPaths": []},
}


@pytest.mark.parametrize("what", MORE)
def test_containers_with_more_rights_are_refused(rule_port, what):
    body = config()
    body["HostConfig"] |= MORE[what]
    assert answer(rule_port, "POST", "/v1.41/containers/create", json.dumps(body)) == 403


@pytest.mark.parametrize(
    "more",
    [
        '"HostConfig": {"Bin\\u0064s": ["/:/host"]}',
        '"HostConfig": {"Bind\\u017f": ["/:/host"]}',
        '"HostConfig": {"Bind\N{LATIN SMALL LETTER LONG S}": ["/:/host"]}',
        '"hostconfig": {"networkmode": "host"}',
        f'"Cmd": "{"x" * 101_000}"',
    ],
    ids=["escaped", "an escaped long s", "a long s", "twice", "too large"],
)
def test_disguises_are_refused(rule_port, more):
    body = json.dumps(config())[:-1] + f", {more}}}"
    assert answer(rule_port, "POST", "/v1.41/containers/create", body.encode()) == 403


def test_what_a_server_asks_reaches_the_engine(rule_port):
    # There is no such image, as only the engine knows.
    body = json.dumps(config())
    assert answer(rule_port, "POST", "/v1.41/containers/create", body) == 404
