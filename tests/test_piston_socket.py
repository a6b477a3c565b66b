"""Piston's socket, `/api/v2/connect`: its messages and close codes as its readme has them."""

import asyncio
import contextlib
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.talk import PATIENCE_S

ECHO = "print('up', flush=True)\nfor line in iter(input, ''): print('got', line, flush=True)"
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


class Socket:
    """One socket; `say` and `hear` messages."""

    def __init__(self, socket):
        self._socket = socket

    async def say(self, kind, **fields):
        await self._socket.send(json.dumps({"type": kind} | fields))

    async def send(self, message):
        await self._socket.send(message)

    async def init(self, code, language="python", **fields):
        files = [{"content": code}]
        await self.say("init", language=language, version="*", files=files, **fields)

    async def hear(self):
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self._socket.recv())

    async def hear_data(self, stream, wanted):
        """Hear output of a stream until it is what is wanted."""
        come = ""
        while come != wanted:
            message = await self.hear()
            assert (message["type"], message["stream"]) == ("data", stream), message
            come += message["data"]
            assert wanted.startswith(come)

    async def hear_begin(self, language="python", stage="run"):
        runtime = {"type": "runtime", "language": language, "version": "0.0.0"}
        assert await self.hear() == runtime
        assert await self.hear() == {"type": "stage", "stage": stage}

    async def closed(self):
        """Return code and reason of the end, and what came before it."""
        heard = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                heard.append(await self.hear())
        return self._socket.close_code, self._socket.close_reason, heard


@pytest.fixture
async def socket(server):
    async with connect(f"{server.url}/api/v2/connect") as opened:
        yield Socket(opened)


async def test_a_program_is_talked_with(socket):
    await socket.init(ECHO, language="py")
    await socket.hear_begin()
    await socket.hear_data("stdout", "up\n")
    for word in ("one", "two"):
        await socket.say("data", stream="stdin", data=f"{word}\n")
        await socket.hear_data("stdout", f"got {word}\n")
    await socket.say("data", stream="stdin", data="\n")
    assert await socket.hear() == {"type": "exit", "stage": "run", "code": 0, "signal": None}
    assert await socket.closed() == (4999, "Job Completed", [])


async def test_files_and_arguments_go_along_and_the_stdin_of_init_does_not(socket):
    code = "import sys, other; print(sys.argv[1:], other.X, file=sys.stderr); print(input())"
    files = [{"content": code}, {"name": "other.py", "content": "583d37", "encoding": "hex"}]
    await socket.say(
        "init", language="python", version="3", files=files, args=["a b"], stdin="no\n"
    )
    await socket.hear_begin()
    await socket.hear_data("stderr", "['a b'] 7\n")
    await socket.say("data", stream="stdin", data="yes\n")
    await socket.hear_data("stdout", "yes\n")
    code, _, heard = await socket.closed()
    assert (code, [message["type"] for message in heard]) == (4999, ["exit"])


async def test_a_signal_ends_it_and_shows_in_the_exit(socket):
    await socket.init(SLEEP)
    await socket.hear_begin()
    await socket.hear_data("stdout", "up\n")
    await socket.say("signal", signal="SIGTERM")
    ended = {"type": "exit", "stage": "run", "code": None, "signal": "SIGTERM"}
    assert await socket.closed() == (4999, "Job Completed", [ended])


async def test_what_takes_too_long_is_killed(socket):
    await socket.init(SLEEP, run_timeout=500)
    _, _, heard = await socket.closed()
    assert heard[-1] == {"type": "exit", "stage": "run", "code": None, "signal": "SIGKILL"}


async def test_both_stages_are_told_each_with_its_exit(socket, need):
    need("c")
    await socket.init("int main(void) { return 3; }", language="c")
    await socket.hear_begin("c", "compile")
    assert await socket.hear() == {"type": "exit", "stage": "compile", "code": 0, "signal": None}
    assert await socket.hear() == {"type": "stage", "stage": "run"}
    ended = {"type": "exit", "stage": "run", "code": 3, "signal": None}
    assert await socket.closed() == (4999, "Job Completed", [ended])


async def test_a_build_that_fails_is_the_last_stage(socket, need):
    need("c")
    await socket.init("int main(void) { return x; }", language="c")
    await socket.hear_begin("c", "compile")
    code, _, heard = await socket.closed()
    assert code == 4999
    assert "undeclared" in "".join(message.get("data", "") for message in heard)
    assert (heard[-1]["type"], heard[-1]["stage"], heard[-1]["code"]) == ("exit", "compile", 1)


async def test_a_character_that_comes_in_two_pieces_is_one(socket):
    code = (
        "import os\nos.write(1, b'\\xc3'); input()\nos.write(1, b'\\xa4\\n'); os.write(2, b'\\xff')"
    )
    await socket.init(code)
    await socket.hear_begin()
    await socket.say("data", stream="stdin", data="\n")
    _, _, heard = await socket.closed()
    data = [(message["stream"], message["data"]) for message in heard if "data" in message]
    assert sorted(data) == [("stderr", "\ufffd"), ("stdout", "ä\n")]


STDIN = {"type": "data", "stream": "stdin", "data": ""}
OUT_OF_PLACE = [
    (True, {"type": "init"}, (4000, "Already Initialized")),
    (False, STDIN, (4003, "Not yet initialized")),
    (False, {"type": "signal", "signal": "SIGINT"}, (4003, "Not yet initialized")),
    (True, STDIN | {"stream": "stdout"}, (4004, "Can only write to stdin")),
    (True, {"type": "signal", "signal": "SIGNOT"}, (4005, "Invalid signal")),
    (True, {"type": "signal", "signal": ["x"]}, (4005, "Invalid signal")),
]


@pytest.mark.parametrize(("begun", "message", "end"), OUT_OF_PLACE)
async def test_what_makes_no_sense_there_closes_the_socket(socket, begun, message, end):
    if begun:
        await socket.init(SLEEP)
        await socket.hear_begin()
        await socket.hear_data("stdout", "up\n")
    await socket.send(json.dumps(message))
    assert (await socket.closed())[:2] == end


INIT = {"type": "init", "language": "python", "version": "1", "files": [{"content": ""}]}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "not JSON"),
        (b"\xff", "not JSON"),
        ("[]", "object"),
        ('{"type":"init"}', "language is required as a string"),
        (json.dumps(INIT | {"language": "nope"}), "nope-1 runtime is unknown"),
        (json.dumps(INIT | {"run_timeout": 1e9}), "configured limit of 60000"),
    ],
)
async def test_errors_are_told_before_the_end(socket, message, words):
    await socket.send(message)
    code, reason, heard = await socket.closed()
    assert (code, reason) == (4002, "Notified Error")
    (error,) = heard
    assert error["type"] == "error"
    assert words in error["message"]


async def test_messages_of_other_kinds_say_nothing(socket):
    await socket.say("ping")
    await socket.init("print(1)")
    assert (await socket.closed())[0] == 4999


async def test_who_says_nothing_is_not_waited_for(start_with):
    server = start_with("import wsrunner.serving.piston_session as p; p.INIT_S = 0.1", warm_max=0)
    async with connect(f"{server.url}/api/v2/connect") as opened:
        assert (await Socket(opened).closed())[:2] == (4001, "Initialization Timeout")


async def test_who_goes_away_takes_the_program_along(server):
    async with connect(f"{server.url}/api/v2/connect") as opened:
        socket = Socket(opened)
        await socket.init(SLEEP)
        await socket.hear_begin()
    await asyncio.to_thread(server.settle)


async def test_without_adapters_there_is_none(start_server):
    server = start_server(no_adapters=True)
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{server.url}/api/v2/connect")
    assert caught.value.response.status_code == 404
