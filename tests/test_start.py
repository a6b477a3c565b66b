"""A server listens before it has an engine; who comes meanwhile waits, or is told. Fast starts."""

import asyncio
import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
import urllib.error
from pathlib import Path

import pytest
from click.testing import CliRunner

import wsrunner
from tests.engine_proxy import EngineProxy
from tests.serving import COMMAND, Serving, environment, until
from tests.talk import PATIENCE_S
from wsrunner.commands import bytecode, main

LISTENING = """
import asyncio, sys
from wsrunner.commands import main
from wsrunner.serving import server
from wsrunner.settings import Settings

async def listen():
    async with server.open_server(Settings(port=0)):
        print(*sys.modules)
        sys.stdout.flush()
        import os
        os._exit(0)

asyncio.run(listen())
"""


@pytest.fixture
async def hanging(need):
    """An engine that takes connections and does not answer."""
    need("python")
    with tempfile.TemporaryDirectory(prefix="wsr-") as folder:
        async with EngineProxy(folder) as proxy:
            proxy.hang()
            yield proxy


def readiness(server):
    """Return the status of ``/readyz``, and what it says."""
    try:
        return 200, json.loads(server.get("/readyz"))["status"]
    except urllib.error.HTTPError as exc:
        return exc.code, json.loads(exc.read())["code"]


async def is_served_at_last(engine, server):
    """Let a run come before the engine answers."""
    async with server.talk() as talk:
        await talk.say("run", language="python", code="print(6 * 7)")
        assert await asyncio.to_thread(readiness, server) == (503, "starting")
        engine.go_on()
        assert (await talk.finish()).stdout == "42\n"
    ready = (200, "ready")
    await asyncio.to_thread(until, lambda: readiness(server) == ready, "the server is ready")


async def test_a_run_that_comes_before_the_engine_answers_is_served(hanging, start_server):
    server = await asyncio.to_thread(start_server, warm_max=0, docker_host=hanging.host)
    await is_served_at_last(hanging, server)
    # The proxy's loop is this test's.
    await asyncio.to_thread(server.stop)
    server.docker_host = None


async def test_so_is_one_whose_gate_has_to_know_the_engine(hanging, start_server, redis):
    options = {"redis_url": redis.tcp_url, "warm_max": 0, "docker_host": hanging.host}
    server = await asyncio.to_thread(start_server, **options)
    await is_served_at_last(hanging, server)
    await asyncio.to_thread(server.stop)
    server.docker_host = None


async def test_a_server_that_still_waits_for_its_engine_stops_when_told(hanging, tmp_path):
    server = Serving(tmp_path / "log", docker_host=hanging.host, warm_max=0)
    await asyncio.to_thread(server.start)
    server.signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.wait) == 0
    assert "Traceback" not in server.log.read_text()


def test_a_server_that_can_not_know_its_engine_says_why_and_ends():
    done = subprocess.run(
        [COMMAND, "serve", "--port=0", "--redis-url=redis://127.0.0.1:1/0"],
        env=environment(DOCKER_HOST="unix:///nonexistent"),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert "\nwsrunner: the container engine could not say who it is" in f"\n{done.stderr}"


def test_what_a_first_socket_does_not_need_is_loaded_after_it():
    done = subprocess.run(
        [sys.executable, "-c", LISTENING],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    loaded = set(done.stdout.split())
    assert {"websockets", "msgspec"} <= loaded
    assert not loaded & {"aiodocker", "aiohttp", "redis", "attr", "yarl", "wsrunner.live.exchange"}


def test_setting_up_compiles_what_is_new_and_minds_no_broken_module(tmp_path):
    good, broken = tmp_path / "good.py", tmp_path / "broken.py"
    good.write_text("word = 1\n")
    broken.write_text("word =\n")
    bytecode.compile_ahead(tmp_path)
    compiled = [importlib.util.cache_from_source(str(path)) for path in (good, broken)]
    assert [Path(path).exists() for path in compiled] == [True, False]


def test_the_command_that_sets_up_compiles_ahead(monkeypatch):
    folders = []
    monkeypatch.setattr(bytecode, "compile_ahead", lambda: folders.append(bytecode.PACKAGE))
    said = CliRunner().invoke(main.main, ["setup", "no-such-language"])
    assert said.exit_code == 2
    assert folders == [Path(wsrunner.__file__).parent]
