"""`wsrunner mcp`, with the client of the official SDK over stdin and stdout."""

import asyncio
import contextlib
import subprocess
import sys

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.serving import COMMAND, environment
from tests.talk import PATIENCE_S

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


async def run_code(client, language, code, **arguments):
    """Call the tool; return its structured result, which must be one."""
    called = await client.call_tool("run_code", {"language": language, "code": code} | arguments)
    assert not called.is_error, called
    return called.structured_content


def refused(called):
    """Return the text of a call that has failed."""
    assert called.is_error, called
    return called.content[0].text


async def test_the_tools_say_what_they_take(server):
    async with opened(server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"run_code", "list_languages"}
    schema = tools["run_code"].input_schema
    assert schema["required"] == ["language", "code"]
    assert set(schema["properties"]) == {"language", "code", "stdin", "args", "files", "wall_s"}
    assert all("description" in field for field in schema["properties"].values())


async def test_the_languages_are_those_that_are_here(server):
    async with opened(server) as client:
        called = await client.call_tool("list_languages", {})
    listed = {entry["id"]: entry for entry in called.structured_content["result"]}
    assert set(listed) == {entry["id"] for entry in server.languages() if entry["present"]}
    assert "py" in listed["python"]["aliases"]


async def test_code_runs_with_input_arguments_and_files(server):
    code = "import sys, other; print(input(), sys.argv[1:], other.X); sys.exit(3)"
    async with opened(server) as client:
        ran = await run_code(
            client, "py", code, stdin="in", args=["a b"], files={"other.py": "X = 7"}
        )
        assert (ran["stdout"], ran["stderr"]) == ("in ['a b'] 7\n", "")
        assert (ran["reason"], ran["code"], ran["stage"]) == ("exited", 3, "run")
        assert ran["left_out_bytes"] == 0


async def test_output_is_reported_while_the_program_runs(server):
    heard, come = [], asyncio.Event()

    async def progress(progress, total, message):
        heard.append((progress, message))
        come.set()

    code = "print('first', flush=True)\nimport time; time.sleep(600)"
    async with opened(server) as client:
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


async def test_what_is_too_much_for_a_model_is_left_out(server):
    async with opened(server) as client:
        ran = await run_code(client, "python", "print('y' * 150_000)")
    assert len(ran["stdout"]) == 100_000
    assert ran["left_out_bytes"] == 50_001


async def test_refusals_are_told_as_errors_of_the_tool(server):
    async with opened(server) as client:

        async def call(**arguments):
            given = {"language": "python", "code": ""} | arguments
            return refused(await client.call_tool("run_code", given))

        assert "did you mean 'python'" in await call(language="pyton")
        assert "no language" in await call(language="pyton", files={"x": ""})
        assert "wall_s" in await call(wall_s=1e6)
        assert "'../x'" in await call(files={"../x": ""})
        assert await call(wall_s=-1)


async def test_a_call_that_is_cancelled_takes_its_run_along(server):
    code = "print('up', flush=True)\nimport time; time.sleep(600)"
    async with opened(server) as client:
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


async def test_a_client_that_goes_away_takes_its_run_along(server):
    code = "print('up', flush=True)\nimport time; time.sleep(600)"
    come = asyncio.Event()

    async def progress(progress, total, message):
        come.set()

    async with opened(server) as client:
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
