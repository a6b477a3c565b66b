"""The Python client comes back to its kept runs by itself."""

import asyncio
import hashlib
import json

import pytest
from websockets.asyncio.server import serve

from tests.live.cutter import Cutter
from tests.live.test_kept import GO_ON
from tests.talk import PATIENCE_S
from wsrunner import protocol
from wsrunner.client import Client, ConnectionLostError, RunRefusedError
from wsrunner.client.board import AGAIN_S
from wsrunner.client.keeping import Keeping


@pytest.fixture
async def way(server):
    """A way to the server that can be cut."""
    async with Cutter([server.address]) as way:
        yield way


class Heard:
    """What one run prints, as it comes."""

    def __init__(self, run):
        self.run = run
        self.text = ""

    async def until(self, text):
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.text:
                self.text += (await anext(self.run)).data.decode()

    async def to_the_end(self):
        async with asyncio.timeout(PATIENCE_S):
            async for output in self.run:
                self.text += output.data.decode()
            return await self.run.exit()


async def test_a_kept_run_survives_lost_connections_without_losing_or_doubling_a_byte(way):
    async with Client(way.url) as client:
        run = await client.run("python", code=GO_ON, keep_s=60)
        heard = Heard(run)
        for number in range(5):
            way.cut()
            await run.stdin(f"{number}\n")
            way.cut()
            await heard.until(f"got {number}\n")
        way.cut()
        await run.eof()
        ended = await heard.to_the_end()
    assert way.connections > 5
    assert heard.text == "".join(f"got {n}\n" for n in range(5)) + "over\n"
    assert (ended.reason, ended.code, run.missed_bytes) == ("exited", 0, 0)


async def test_much_stdin_survives_them_too(way):
    code = (
        "import sys, hashlib\nd = sys.stdin.buffer.read()\n"
        "print(len(d), hashlib.sha1(d).hexdigest())"
    )
    data = bytes(range(256)) * 8192
    way.cut_after = lambda: 400_000
    async with Client(way.url) as client:
        run = await client.run("python", code=code, stdin=data, keep_s=60)
        heard = Heard(run)
        await heard.to_the_end()
    assert heard.text == f"{len(data)} {hashlib.sha1(data).hexdigest()}\n"
    assert way.connections > 3


async def test_a_run_without_keep_s_ends_with_its_connection_as_before(way):
    async with Client(way.url) as client:
        run = await client.run("python", code=GO_ON)
        assert run.keys is None
        way.cut()
        with pytest.raises(ConnectionLostError):
            await run.exit()
        with pytest.raises(ConnectionLostError):
            await client.run("python", code="")


async def test_others_attach_to_drive_or_to_watch(server):
    async with Client(server.url) as client, Client(server.url) as other:
        run = await client.run("python", code=GO_ON, keep_s=60)
        watching = await other.attach(run.keys.run, run.keys.view)
        driving = await other.attach(run.keys.run, run.keys.drive)
        await driving.stdin("hello\n")
        await Heard(watching).until("got hello\n")
        await watching.stdin("not me\n")
        with pytest.raises(RunRefusedError, match="who views run"):
            await Heard(watching).to_the_end()
        await watching.detach()
        with pytest.raises(ConnectionLostError, match="has left"):
            await watching.exit()
        await driving.eof()
        assert (await run.exit()).code == 0
        with pytest.raises(RunRefusedError, match="no kept run"):
            await other.attach(run.keys.run, "guess")


async def test_what_was_lost_meanwhile_is_told(start_server):
    server = start_server(journal_kb=16)
    code = "import sys, time\nsys.stdin.read(1)\nfor n in range(50_000): print('%09d' % n)"
    gaps = []
    async with Cutter([server.address]) as way, Client(way.url) as client:
        run = await client.run("python", code=code, keep_s=60, on_gap=gaps.append)
        keys = run.keys
        addresses, way.addresses = way.addresses, ["127.0.0.1:1"]
        way.cut()
        async with server.talk() as talk:
            await talk.say("attach", run=keys.run, key=keys.drive, after=1)
            await talk.say("stdin", data="x")
            await talk.hear_kind("exit")
        way.addresses = addresses
        heard = Heard(run)
        ended = await heard.to_the_end()
    assert gaps == [run.missed_bytes]
    assert run.missed_bytes > 0
    assert run.missed_bytes + len(heard.text) == ended.output_bytes == 500_000


async def test_a_server_that_does_not_come_back_is_given_up(way, monkeypatch):
    monkeypatch.setattr("wsrunner.client.keeping.PATIENCE_S", 0.3)
    async with Client(way.url) as client:
        run = await client.run("python", code=GO_ON, keep_s=0.1)
        addresses, way.addresses = way.addresses, ["127.0.0.1:1"]
        way.cut()
        with pytest.raises(ConnectionLostError):
            await run.exit()
        way.addresses = addresses


async def test_who_is_told_to_come_anew_does_so_once_whatever_happens_meanwhile():
    """As a server does that is cut off from Redis, here with the socket lost right after it."""
    heard = []
    kept = {"run": "R", "drive": "D", "view": "V"}

    async def script(socket):
        async def say(kind, **fields):
            await socket.send(json.dumps({"type": kind, "id": "r1", **fields}))

        async for text in socket:
            heard.append(json.loads(text)["type"])
            if heard[-1] == "run":
                await say("accepted", **kept)
                await say("error", code="gate_unavailable", message="attach again")
                # Let it be read.
                await (await socket.ping())
                socket.transport.abort()
            elif heard.count("attach") == 1:
                await say("attached", run="R", role="drive", stage="run")
                await asyncio.sleep(2 * AGAIN_S)
                await say("exit", run="R", stage="run", reason="exited", code=0)

    async with (
        serve(script, "127.0.0.1", 0) as server,
        Client(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client,
    ):
        run = await client.run("python", code="", keep_s=5)
        async with asyncio.timeout(PATIENCE_S):
            assert (await run.exit()).code == 0
    assert heard == ["run", "attach"]


async def test_a_greeting_that_a_lost_socket_overtakes_is_not_said_twice():
    heard = []

    async def script(socket):
        async for text in socket:
            heard.append(json.loads(text)["type"])
            answers = [{"type": "accepted", "drive": "D", "view": "V"}]
            if heard[-1] == "attach":
                answers = [
                    {"type": "attached", "role": "drive", "stage": "run"},
                    {"type": "exit", "stage": "run", "reason": "exited", "code": 0},
                ]
            for answer in answers:
                await socket.send(json.dumps({"id": "r1", "run": "R", **answer}))

    async with (
        serve(script, "127.0.0.1", 0) as server,
        Client(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client,
    ):
        run = await client.run("python", code="", keep_s=5)
        link = client._board.link
        link._cut_off(link._connection, ConnectionLostError("as if it broke off here"))
        greeting = asyncio.create_task(client._board.greet(client._board.courses["r1"]))
        async with asyncio.timeout(PATIENCE_S):
            assert (await run.exit()).code == 0
            await greeting
        # The next answer comes behind all that was said before.
        async with asyncio.timeout(PATIENCE_S):
            await (await link._connection._socket.ping())
    assert heard == ["run", "attach"]


def test_of_many_small_pieces_of_stdin_each_is_looked_at_a_few_times():
    looks = 0

    class Piece(bytes):
        def __len__(self):
            nonlocal looks
            looks += 1
            return super().__len__()

    keeping = Keeping.of("R", "KEY", 0)
    keeping.attached(protocol.Attached(run="R", role="drive", stage="run", tty=False))
    for number in range(1000):
        keeping.write(Piece(b"0123456789"))
        message = keeping.unsent("r1")
        assert message.at == 10 * number
    assert looks < 10 * 1000
    # What the run has of them is not sent again, and the rest from where it has.
    keeping.drained(4000)
    back = protocol.Attached(run="R", role="drive", stage="run", tty=False, stdin_bytes=9980)
    keeping.attached(back)
    assert [keeping.unsent("r1").at for _ in range(2)] == [9980, 9990]
    assert keeping.unsent("r1") is None
