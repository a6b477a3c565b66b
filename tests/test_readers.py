"""An answer is out as soon as the run's end is known, whatever the server has to do then."""

import asyncio
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec import UNSET

from tests.talk import PATIENCE_S
from wsrunner.runs.events import Exit, Output, Started
from wsrunner.serving import wire
from wsrunner.serving.doors.readers import Answered, EventLines, RawOutput, Streamed

EXITED = Exit(
    seq=3, stage="run", reason="exited", code=0, signal=None, queued_s=0, wall_s=0,
    cpu_s=None, memory_bytes=None, output_bytes=3, truncated=False,
)  # fmt: skip
READERS = {
    "whole": lambda request: Answered(request, UNSET, {}),
    "events": lambda request: Streamed(request, EventLines(wire.Wording(UNSET)), {}),
    "raw": lambda request: Streamed(request, RawOutput(tell=True), {}),
}


@pytest.mark.parametrize("make", READERS.values(), ids=READERS)
async def test_the_answer_is_whole_while_its_handler_has_yet_to_end(make):
    read = asyncio.Event()

    async def handle(request):
        reader = make(request)
        reader.run = SimpleNamespace(run_id="r1")
        for event in (Started(1, "run"), Output(2, 1, b"hi\n"), EXITED):
            await reader.send(event)
        assert reader.ended.is_set()
        await read.wait()
        return reader.response

    application = web.Application()
    application.router.add_get("/", handle)
    async with (
        TestServer(application) as server,
        asyncio.timeout(PATIENCE_S),
        aiohttp.ClientSession() as client,
        client.get(server.make_url("/")) as response,
    ):
        body = await response.text()
        assert "hi" in body
        assert "exit" in body
        read.set()
