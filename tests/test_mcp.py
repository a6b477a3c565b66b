"""`wsrunner mcp` and `/mcp`, with the client of the official SDK."""

import asyncio
import contextlib
import json
import re
import secrets
import subprocess
import sys
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.http_talk import connect, post
from tests.http_talk import refused as refused_post
from tests.serving import COMMAND, environment
from tests.talk import PATIENCE_S

HTTP_MODES = {"http": "auto", "http, as before 2026": "legacy"}
"""By the version of the protocol that is agreed on."""
TOKEN = "s3cret-token-for-tests"


@contextlib.asynccontextmanager
async def opened(server, **variables):
    """A client of the tools of this server."""
    arguments = ["mcp", "--url", server.url]
    parameters = StdioServerParameters(
        command=str(COMMAND), args=arguments, env=environment(**variables)
    )
    async with Client(stdio_client(parameters), read_timeout_seconds=PATIENCE_S) as client:
        yield client


@contextlib.asynccontextmanager
async def opened_http(server, mode="auto", **headers):
    """The same without a process of the client's own."""
    url = f"http://{server.address}/mcp"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S) as http,
        Client(
            streamable_http_client(url, http_client=http),
            read_timeout_seconds=PATIENCE_S,
            mode=mode,
        ) as client,
    ):
        yield client


@pytest.fixture(params=["stdio", *HTTP_MODES])
def tools(request, server):
    """A function that opens a client of the shared server's tools."""
    if request.param == "stdio":
        return lambda: opened(server)
    return lambda: opened_http(server, HTTP_MODES[request.param])


async def run_code(client, language, code, **arguments):
    """Call the tool; return its structured result, which must be one."""
    called = await client.call_tool("run_code", {"language": language, "code": code} | arguments)
    assert not called.is_error, called
    return called.structured_content


def refused(called):
    """Return the text of a call that has failed."""
    assert called.is_error, called
    return called.content[0].text


async def test_the_tools_say_what_they_take(tools):
    async with tools() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"run_code", "forget_workspace", "list_languages"}
    schema = tools["run_code"].input_schema
    assert schema["required"] == ["language", "code"]
    assert set(schema["properties"]) == {
        *("language", "code", "stdin", "args", "files", "wall_s", "workspace")
    }
    assert all("description" in field for field in schema["properties"].values())


async def test_the_languages_are_those_that_are_here(tools, server):
    async with tools() as client:
        called = await client.call_tool("list_languages", {})
    listed = {entry["id"]: entry for entry in called.structured_content["result"]}
    assert set(listed) == {entry["id"] for entry in server.languages() if entry["present"]}
    assert "py" in listed["python"]["aliases"]


async def test_code_runs_with_input_arguments_and_files(tools):
    code = "import sys, other; print(input(), sys.argv[1:], other.X); sys.exit(3)"
    async with tools() as client:
        ran = await run_code(
            client, "py", code, stdin="in", args=["a b"], files={"other.py": "X = 7"}
        )
        assert (ran["stdout"], ran["stderr"]) == ("in ['a b'] 7\n", "")
        assert (ran["reason"], ran["code"], ran["stage"]) == ("exited", 3, "run")
        assert ran["left_out_bytes"] == 0


async def test_output_is_reported_while_the_program_runs(tools):
    heard, come = [], asyncio.Event()

    async def progress(progress, total, message):
        heard.append((progress, message))
        come.set()

    # In one piece, also where output is not buffered.
    code = "import os, time; os.write(1, b'first\\n'); time.sleep(600)"
    async with tools() as client:
        call = asyncio.create_task(
            client.call_tool(
                "run_code",
                {"language": "python", "code": code, "wall_s": 3},
                progress_callback=progress,
            )
        )
        async with asyncio.timeout(PATIENCE_S):
            await come.wait()
        assert not call.done()
        assert heard == [(1, "first\n")]
        assert (await call).structured_content["reason"] == "timeout"


async def test_what_is_too_much_for_a_model_is_left_out(tools):
    async with tools() as client:
        ran = await run_code(client, "python", "print('y' * 150_000)")
    assert len(ran["stdout"]) == 100_000
    assert ran["left_out_bytes"] == 50_001


async def test_refusals_are_told_as_errors_of_the_tool(tools):
    async with tools() as client:

        async def call(**arguments):
            given = {"language": "python", "code": ""} | arguments
            return refused(await client.call_tool("run_code", given))

        assert "did you mean 'python'" in await call(language="pyton")
        assert "no language" in await call(language="pyton", files={"x": ""})
        assert "wall_s" in await call(wall_s=1e6)
        assert "'../x'" in await call(files={"../x": ""})
        assert await call(wall_s=-1)


async def test_a_call_that_is_cancelled_takes_its_run_along(tools, server):
    code = "print('up', flush=True)\nimport time; time.sleep(600)"
    async with tools() as client:
        with anyio.CancelScope() as scope:

            async def progress(progress, total, message):
                scope.cancel()

            await client.call_tool(
                "run_code", {"language": "python", "code": code}, progress_callback=progress
            )
        assert scope.cancelled_caught
        await asyncio.to_thread(server.settle)
        # The others are not concerned.
        assert (await run_code(client, "bash", "echo hi"))["stdout"] == "hi\n"


async def test_a_client_that_goes_away_takes_its_run_along(tools, server):
    code = "print('up', flush=True)\nimport time; time.sleep(600)"
    come = asyncio.Event()

    async def progress(progress, total, message):
        come.set()

    async with tools() as client:
        call = asyncio.create_task(
            client.call_tool(
                "run_code", {"language": "python", "code": code}, progress_callback=progress
            )
        )
        async with asyncio.timeout(PATIENCE_S):
            await come.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    await asyncio.to_thread(server.settle)


async def test_the_token_goes_along_and_a_missing_one_is_told(start_server):
    server = start_server(token=TOKEN, warm_max=0)
    async with opened(server, WSRUNNER_TOKEN=TOKEN) as client:
        assert (await run_code(client, "bash", "echo hi"))["stdout"] == "hi\n"
    async with opened(server) as client:
        called = await client.call_tool("run_code", {"language": "bash", "code": ""})
        assert "token" in refused(called)


@pytest.mark.parametrize("arguments", [["--url", "ftp://x"], ["--token", "no\ntoken"]])
def test_arguments_that_make_no_sense_are_told(arguments):
    done = subprocess.run(
        [COMMAND, "mcp", *arguments], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_without_the_extra_the_command_says_what_to_install():
    script = (
        "import sys; sys.modules['mcp'] = None; from wsrunner.commands.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "mcp"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 2
    assert "pip install 'wsrunner[mcp]'" in done.stderr


async def test_by_http_the_token_is_wanted(start_server):
    server = start_server(token=TOKEN, warm_max=0)
    async with opened_http(server, **{"X-Access-Token": TOKEN}) as client:
        assert (await run_code(client, "bash", "echo hi"))["stdout"] == "hi\n"
    assert refused_post(post(server, "/mcp", {}), 401, "unauthorized")


def test_by_http_foreign_pages_and_bodies_without_end_are_refused(server):
    foreign = post(server, "/mcp", {}, Origin="https://evil.example")
    assert refused_post(foreign, 403, "origin_not_allowed")
    assert refused_post(post(server, "/mcp", b"x" * 2_000_000), 413, "too_large")
    # What the package refuses is its own to word.
    kinds = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
    }
    status, _, body = post(server, "/mcp", b"no JSON", **kinds)
    assert (status, json.loads(body)["jsonrpc"]) == (400, "2.0")


def test_by_http_a_page_may_ask(server):
    origin = f"http://{server.address}"
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    with contextlib.closing(connect(server)) as connection:
        connection.request("OPTIONS", "/mcp", headers=asked)
        headers = connection.getresponse().headers
    assert headers["Access-Control-Allow-Origin"] == origin
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert "Mcp-Session-Id" in headers["Access-Control-Allow-Headers"]


async def test_by_http_runs_count_as_those_of_the_client(start_server):
    server = start_server(runs_per_minute=1, warm_max=0)
    async with opened_http(server) as client:
        arguments = {"language": "bash", "code": "echo hi"}
        assert not (await client.call_tool("run_code", arguments)).is_error
        assert "1 run" in refused(await client.call_tool("run_code", arguments))


async def test_a_server_that_stops_ends_the_sessions(start_server):
    server = start_server(warm_max=0, drain_s=0)
    code = "print('up', flush=True)\nimport time; time.sleep(600)"
    come = asyncio.Event()

    async def progress(progress, total, message):
        come.set()

    async with opened_http(server, "legacy") as client:
        call = asyncio.create_task(
            client.call_tool(
                "run_code", {"language": "python", "code": code}, progress_callback=progress
            )
        )
        async with asyncio.timeout(PATIENCE_S):
            await come.wait()
        await asyncio.to_thread(server.stop)
        assert (await call).structured_content["reason"] == "draining"


def test_by_http_without_the_extra_it_says_what_to_install(start_with):
    server = start_with("import sys; sys.modules['mcp'] = None")
    error = refused_post(post(server, "/mcp", {}), 501, "not_installed")
    assert "pip install 'wsrunner[mcp]'" in error["message"]


def test_nobody_loads_it_who_does_not_ask(start_with):
    lines = [
        "import atexit, sys",
        "atexit.register(lambda: print('has mcp:', 'mcp' in sys.modules, file=sys.stderr))",
    ]
    server = start_with(*lines)
    server.get("/v1/languages")
    server.stop()
    assert "has mcp: False" in server.log.read_text()


def test_the_document_s_example_prints_what_it_says(server):
    document = (Path(__file__).parents[1] / "docs" / "mcp.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example.replace("127.0.0.1:8001", server.address)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout == "42\n"


async def test_a_workspace_holds_the_files_of_several_calls(tools):
    name = secrets.token_hex(8)
    async with tools() as client:
        first = await run_code(client, "python", "open('n', 'w').write('1')", workspace=name)
        second = await run_code(client, "python", "print(open('n').read())", workspace=name)
        assert (first["workspace"], second["workspace"], second["stdout"]) == ("new", "kept", "1\n")
        other = await client.call_tool(
            "run_code", {"language": "bash", "code": "ls", "workspace": name}
        )
        assert "forget it first" in refused(other)
        called = await client.call_tool("forget_workspace", {"workspace": name})
        assert not called.is_error
        again = await client.call_tool("forget_workspace", {"workspace": name})
        assert f"there is no workspace '{name}'" in refused(again)
        assert (await run_code(client, "python", "print(1)"))["workspace"] is None
