"""Servers for tests. What is missing is an error under CI=true, a skip elsewhere."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.docker_fixtures import absent
from tests.gates.servers import RedisServer
from tests.serving import LEASE_S, Serving, docker, until
from wsrunner import languages
from wsrunner.serving.doors.pages import static_dir


def pytest_configure():
    """Let programs under test take the signals that all inherit as ignored where these tests run in
    the background of a shell (SIGINT, SIGQUIT) or under nohup (SIGHUP)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


NEEDS = {
    "docker": {"images"},
    "redis": {"redis_binary", "oldest_redis"},
    "browser": {"chromium"},
}
"""Markers, and the fixtures that mean each: who uses one, through whatever others, is marked."""


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """Mark each test by what its fixtures need, so that nobody has to think of it."""
    for item in items:
        for marker, fixtures in NEEDS.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(marker)


@pytest.fixture(autouse=True)
def no_engine_unawares(request, monkeypatch):
    """Let no test reach the engine that is not marked `docker`: `make check` has to be able to."""
    if "docker" not in request.keywords:
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/mark-this-test-docker.sock")


@pytest.fixture(scope="session")
def images():
    """The names of the engine's images."""
    try:
        listed = docker("images", "--format", "{{.Repository}}:{{.Tag}}", check=False)
    except FileNotFoundError:
        absent("docker")
    return frozenset(listed.split()) or absent("a container engine with images")


@pytest.fixture(scope="session")
def need(images):
    """A function that returns the image for a language, or gives the test up."""
    catalogue = languages.load()

    def image_for(language):
        return catalogue.find(language).choose(images) or absent(f"an image for {language}")

    return image_for


@pytest.fixture(scope="session")
def websocat():
    """The path of a real websocat."""
    beside = Path(sys.executable).with_name("websocat")
    found = str(beside) if beside.exists() else shutil.which("websocat")
    return found or absent("websocat")


@pytest.fixture(scope="session")
def node():
    """Node, as command; before 22 it has no WebSocket of its own and is given that of `ws`."""
    path = shutil.which("node") or absent("node")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    if int(said.stdout.lstrip("v").partition(".")[0]) >= 22:
        return [path]
    package = static_dir() / "node_modules" / "ws" / "wrapper.mjs"
    if not package.exists():
        absent("the package ws (make web)")
    script = f'import {{ WebSocket }} from "{package.as_uri()}"; globalThis.WebSocket = WebSocket;'
    return [path, f"--import=data:text/javascript,{quote(script)}"]


@pytest.fixture(scope="session")
def redis_binary():
    """The path of a Redis, or of a Valkey."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return found or absent("redis-server")


def _start(request, folder, options):
    """Start a server that is stopped, and checked for leftovers, when the fixture ends."""
    serving = Serving(folder / "server.log", **options)
    request.addfinalizer(lambda: _stop(serving))
    serving.start()
    # It listens before its engine is there. Whoever gives it one of its own sees to that.
    if serving.docker_host is None:
        until(lambda: serving.status("/readyz") == 200, "the server is ready")
    return serving


def _stop(serving):
    serving.stop()
    left = serving.containers()
    for container in left:
        docker("rm", "-f", container, host=serving.docker_host, check=False)
    assert not left, f"{len(left)} containers left by a server that has stopped"
    log = serving.log.read_text()
    assert "Traceback" not in log, log


@pytest.fixture
def start_server(request, tmp_path, need):
    """A function that starts a server for this test alone: ``start_server(slots=1)``."""
    need("python")

    def start(**options):
        folder = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return _start(request, folder, options)

    return start


@pytest.fixture
def redis(redis_binary, tmp_path):
    """A Redis for this test alone."""
    with RedisServer(redis_binary, tmp_path) as server:
        yield server


@pytest.fixture
def replicas(redis, start_server):
    """A function that starts so many servers that share one Redis, and a slot: ``replicas(3)``."""

    def start(count, **options):
        shared = {"redis_url": redis.tcp_url, "slots": 1, "lease_s": LEASE_S, "warm_max": 0}
        return [start_server(**(shared | options)) for _ in range(count)]

    return start


@pytest.fixture
def spaces(start_server):
    """A server without warm containers, for this test alone: what is there is workspaces'."""
    return start_server(warm_max=0)


@pytest.fixture
async def there(spaces):
    """A socket to it."""
    async with spaces.talk() as talk:
        yield talk


@pytest.fixture
def start_with(start_server, monkeypatch, tmp_path):
    """A function that starts a server after assignments to what its modules hold."""

    def start(*assignments, **options):
        script = tmp_path / "wsrunner"
        lines = [
            f"#!{sys.executable}",
            "import wsrunner.runs.memory, wsrunner.serving.port",
            "from wsrunner.commands.main import main",
            *assignments,
            "main()",
        ]
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)
        monkeypatch.setattr("tests.serving.COMMAND", script)
        return start_server(**options)

    return start


@pytest.fixture(scope="session")
def shared_server(request, tmp_path_factory, need):
    need("python")
    folder = tmp_path_factory.mktemp("shared")
    return _start(request, folder, {"slots": 4, "warm_max": 0, "memory_mb": 256})


@pytest.fixture
def server(shared_server):
    """The server that most tests share; each must leave it without a run or a container."""
    yield shared_server
    shared_server.settle()


@pytest.fixture(scope="session")
def single_server(request, tmp_path_factory, need):
    need("python")
    folder = tmp_path_factory.mktemp("single")
    return _start(request, folder, {"slots": 1, "queue_max": 2, "warm": "python=1"})


@pytest.fixture
def one_slot(single_server):
    """A server with a single slot and room for two in its queue."""
    yield single_server
    single_server.settle()


@pytest.fixture
async def talk(server):
    """A socket of the JSON protocol on the shared server."""
    async with server.talk() as talk:
        yield talk
