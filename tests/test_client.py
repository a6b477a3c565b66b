"""The Python client, against a server that follows a script: this comes in, that goes out."""

from __future__ import annotations

import asyncio
import http
import json
from contextlib import aclosing, asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from wsrunner.address import endpoint
from wsrunner.client import (
    Client,
    ConnectError,
    ConnectionLostError,
    Output,
    RunRefusedError,
    connection,
    encoding,
    feed,
    flow,
    watch,
)

STARTED = {"type": "started", "run": "s1", "stage": "run"}
EXIT = {"type": "exit", "run": "s1", "stage": "run", "reason": "exited", "code": 0}


class Peer:
    """The server's end of one socket, as a script sees it."""

    def __init__(self, socket):
        self.socket = socket
        self.request = socket.request

    async def takes(self, kind, **fields):
        """Expect a message of this type with at least these fields; return it."""
        message = json.loads(await self.socket.recv())
        assert message["type"] == kind, message
        assert {name: message.get(name) for name in fields} == fields
        return message

    async def says(self, *messages, to="r1"):
        for message in messages:
            await self.socket.send(json.dumps({"id": to, **message}))

    async def gone(self):
        """Wait until the client closed."""
        await self.socket.wait_closed()


@asynccontextmanager
async def scripted(script, **options):
    """Serve one client by `script(peer)`; yields the URL. The script must come to its end."""
    finished = asyncio.get_running_loop().create_future()

    async def serve_one(socket):
        try:
            await script(Peer(socket))
        except BaseException as exc:
            finished.set_exception(exc)
            raise
        finished.set_result(None)

    async with serve(serve_one, "127.0.0.1", 0, subprotocols=["wsrunner.v1"], **options) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}"
        async with asyncio.timeout(10):
            await finished


async def until(condition):
    """Let the other tasks go on until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_a_run_yields_its_output_and_its_exit():
    async def script(peer):
        assert peer.socket.subprotocol == "wsrunner.v1"
        assert peer.request.headers["X-Access-Token"] == "secret"
        await peer.takes("run", id="r1", language="python", code="…", args=["-v"], env={"K": "V"})
        await peer.says(
            STARTED,
            {"type": "stdout", "seq": 1, "data": "hällo\n"},
            {"type": "stderr", "seq": 2, "base64": "/wA="},
            {"type": "news_of_v1_point_9", "what": "ever"},
            EXIT | {"code": 3, "surprise": [1]},
        )
        await peer.gone()

    async with scripted(script) as url, Client(url, "secret") as client:
        run = await client.run("python", code="…", args=["-v"], env={"K": "V"})
        outputs = [output async for output in run]
        assert outputs == [Output("stdout", "hällo\n".encode()), Output("stderr", b"\xff\x00")]
        ended = await run.exit()
        assert (ended.reason, ended.code) == ("exited", 3)


@pytest.mark.parametrize("merge", [True, False])
async def test_merge_is_asked_for_as_the_caller_said(merge):
    async def script(peer):
        request = await peer.takes("run")
        assert request.get("merge", False) is merge
        await peer.says(STARTED, EXIT)
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="", merge=merge)
        await run.exit()


async def test_files_travel_as_text_or_base64_with_the_main_file_first():
    async def script(peer):
        request = await peer.takes("run")
        assert request["files"] == [
            {"name": "main.c", "content": "int x;"},
            {"name": "data/x.bin", "base64": "/w=="},
        ]
        assert request["limits"] == {"wall_s": 5.0, "pids": 32}
        assert request["tty"] == {"columns": 100, "rows": 30}
        await peer.says(STARTED, EXIT)
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        files = {"main.c": b"int x;", "data/x.bin": b"\xff"}
        run = await client.run("c", files=files, limits={"wall_s": 5, "pids": 32}, tty=(100, 30))
        await run.exit()


async def test_the_position_is_known_while_a_run_waits():
    positions = []

    async def script(peer):
        await peer.takes("run")
        await peer.says({"type": "queued", "run": "s1", "position": 2, "waiting": 3})
        await peer.takes("stdin", data="go")
        await peer.says({"type": "queued", "run": "s1", "position": 1, "waiting": 2})
        await peer.says(STARTED, EXIT)
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="", on_queued=lambda *at: positions.append(at))
        assert (run.position, run.waiting, run.stage) == (2, 3, "queue")
        await run.stdin("go")
        await run.exit()
        assert positions == [(2, 3), (1, 2)]
        assert run.position is None


async def test_requests_about_a_run_name_it():
    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED)
        await peer.takes("stdin", id="r1", data="a\n")
        await peer.takes("stdin", id="r1", base64="/w==")
        await peer.takes("eof", id="r1")
        await peer.takes("signal", id="r1", signal="SIGINT")
        await peer.takes("resize", id="r1", columns=99, rows=9)
        await peer.takes("cancel", id="r1")
        await peer.says(EXIT | {"reason": "cancelled"})
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="")
        await run.stdin("a\n")
        await run.stdin(b"\xff")
        await run.eof()
        await run.signal("SIGINT")
        with pytest.raises(ValueError, match="SIGKILL"):
            await run.signal("SIGFOO")
        await run.resize(99, 9)
        await run.cancel()
        assert (await run.exit()).reason == "cancelled"
        await run.stdin("late")  # reaches nobody, harms nobody


async def test_a_refused_run_raises_what_the_server_said():
    async def script(peer):
        await peer.takes("run")
        error = {"code": "queue_full", "message": "the queue is full", "retry_after_s": 2.5}
        await peer.says({"type": "error", **error})
        await peer.takes("run", id="r2")
        error = {"code": "bad_message", "message": "too odd", "path": "$.files[0].name"}
        await peer.socket.send(json.dumps({"type": "error", **error}))
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        with pytest.raises(RunRefusedError, match="the queue is full") as caught:
            await client.run("python", code="")
        assert (caught.value.code, caught.value.retry_after_s) == ("queue_full", 2.5)
        with pytest.raises(RunRefusedError, match="too odd") as caught:
            await client.run("python", code="")
        assert caught.value.path == "$.files[0].name"


async def test_a_refused_request_is_told_once_and_the_run_goes_on():
    async def script(peer):
        await peer.takes("run")
        await peer.says(
            STARTED,
            {"type": "error", "code": "no_such_run", "message": "crossed with something"},
            {"type": "error", "code": "too_large", "message": "too much stdin"},
            {"type": "stdout", "seq": 1, "data": "on\n"},
            EXIT,
        )
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="")
        assert (await anext(run)).data == b"on\n"
        with pytest.raises(RunRefusedError, match="too much stdin"):
            await anext(run)
        assert (await run.exit()).code == 0


async def test_a_lost_connection_is_told_after_the_output_that_came():
    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED, {"type": "stdout", "seq": 1, "data": "x"})
        await peer.socket.close(1001, "draining finished")

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="")
        assert (await anext(run)).data == b"x"
        with pytest.raises(ConnectionLostError, match=r"going away.*draining finished") as caught:
            await anext(run)
        assert caught.value.close_code == 1001
        with pytest.raises(ConnectionLostError):
            await run.exit()
        with pytest.raises(ConnectionLostError):
            await client.run("python", code="")


async def test_a_request_larger_than_the_server_takes_is_refused_as_too_large():
    async def script(peer):
        await peer.gone()

    async with scripted(script, max_size=1000) as url, Client(url) as client:
        with pytest.raises(RunRefusedError, match="KiB, which is more") as caught:
            await client.run("python", code="x" * 5000)
        assert caught.value.code == "too_large"


async def test_several_runs_share_a_socket():
    async def script(peer):
        await peer.takes("run", id="r1")
        await peer.takes("run", id="r2")
        await peer.says(STARTED, to="r2")
        await peer.says(STARTED, to="r1")
        await peer.says({"type": "stdout", "seq": 1, "data": "two"}, EXIT, to="r2")
        await peer.says({"type": "stdout", "seq": 1, "data": "one"}, EXIT, to="r1")
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        one, two = await asyncio.gather(
            client.collect("python", files={"a.py": "1"}), client.collect("python", code="2")
        )
        assert (one.stdout, two.stdout) == (b"one", b"two")


async def test_a_consumer_that_does_not_read_stops_the_socket(monkeypatch):
    monkeypatch.setattr(flow, "OUTPUT_BUFFER_BYTES", 10_000)
    came = []

    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED)
        for seq in range(200):
            await peer.says({"type": "stdout", "seq": seq, "data": "y" * 1000})
        await peer.says(EXIT)
        await peer.gone()

    async with scripted(script) as url, Client(url, on_message=came.append) as client:
        run = await client.run("python", code="")
        first = await anext(run)
        await until(lambda: client._board.link.held)
        assert len(came) < 20
        rest = [output.data async for output in run]
        assert len(first.data + b"".join(rest)) == 200_000


async def test_exit_does_not_hang_on_output_that_nobody_reads(monkeypatch):
    monkeypatch.setattr(flow, "OUTPUT_BUFFER_BYTES", 10_000)

    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED)
        await peer.says(*[{"type": "stdout", "seq": n, "data": "y" * 1000} for n in range(200)])
        await peer.says(EXIT)
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="")
        await until(lambda: client._board.link.held)
        assert (await run.exit()).code == 0
        with pytest.raises(RuntimeError, match="discarded"):
            await anext(run)


async def test_stdin_waits_for_the_program_to_take_it():
    total = flow.STDIN_WINDOW_BYTES * 2 + 5
    window_full = asyncio.Event()

    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED)
        got = 0
        while got < flow.STDIN_WINDOW_BYTES:
            got += len((await peer.takes("stdin"))["data"])
        # Nothing more comes until the server says that the program took some.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.socket.recv()
        window_full.set()
        while got < total:
            await peer.says({"type": "drained", "bytes": got})
            got += len((await peer.takes("stdin"))["data"])
        await peer.takes("eof")
        await peer.says(EXIT)
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="", stdin=b"x" * total)
        await window_full.wait()
        await run.exit()


async def test_stdin_that_waits_is_let_go_when_the_run_ends():
    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED)
        got = 0
        while got < flow.STDIN_WINDOW_BYTES:
            got += len((await peer.takes("stdin"))["data"])
        await peer.says(EXIT)
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="")
        await run.stdin(b"x" * flow.STDIN_WINDOW_BYTES * 3)
        await run.exit()


async def test_text_is_not_cut_inside_a_character():
    text = "€" * 50_000

    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED)
        got = ""
        while got != text:
            message = await peer.takes("stdin")
            assert len(message["data"].encode()) <= encoding.STDIN_MESSAGE_BYTES
            got += message["data"]
        await peer.says(EXIT)
        await peer.gone()

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="")
        await run.stdin(text)
        await run.exit()


async def test_cancelling_the_wait_cancels_the_run():
    async def script(peer):
        await peer.takes("run")
        waiting.cancel()
        await peer.takes("cancel", id="r1")
        cancelled.set()
        await peer.gone()

    cancelled = asyncio.Event()
    async with scripted(script) as url, Client(url) as client:
        waiting = asyncio.create_task(client.run("python", code=""))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(cancelled.is_set)


async def test_closing_the_client_ends_its_runs():
    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED)
        await peer.gone()
        assert peer.socket.close_code == 1000

    async with scripted(script) as url:
        async with Client(url) as client:
            run = await client.run("python", code="")
        with pytest.raises(ConnectionLostError, match="closed before the run ended"):
            await run.exit()


async def test_a_server_that_does_not_answer_a_ping_is_given_up(monkeypatch):
    monkeypatch.setattr(connection, "PING_INTERVAL_S", 0.01)
    monkeypatch.setattr(connection, "PING_TIMEOUT_S", 0.1)

    given_up = asyncio.Event()

    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED)
        peer.socket.transport.pause_reading()
        await given_up.wait()
        peer.socket.transport.abort()  # it reads nothing, so it would never notice

    async with scripted(script) as url, Client(url) as client:
        run = await client.run("python", code="")
        with pytest.raises(ConnectionLostError, match="did not answer a ping"):
            await run.exit()
        given_up.set()


async def test_a_slow_consumer_is_no_dead_server(monkeypatch):
    monkeypatch.setattr(flow, "OUTPUT_BUFFER_BYTES", 1000)
    monkeypatch.setattr(connection, "PING_INTERVAL_S", 0.01)
    monkeypatch.setattr(connection, "PING_TIMEOUT_S", 0.05)
    pings = []

    class Pinged(ServerConnection):
        def process_event(self, event):
            if isinstance(event, Frame) and event.opcode is Opcode.PING:
                pings.append(event)
            super().process_event(event)

    async def script(peer):
        await peer.takes("run")
        await peer.says(STARTED)
        await peer.says(*[{"type": "stdout", "seq": n, "data": "y" * 50_000} for n in range(200)])
        await peer.says(EXIT)
        await peer.gone()

    async with scripted(script, create_connection=Pinged) as url, Client(url) as client:
        run = await client.run("python", code="")
        await until(lambda: client._board.link.held)
        await until(lambda: len(pings) > 2)  # the first two had no pong in time
        assert sum([len(output.data) async for output in run]) == 10_000_000


@pytest.mark.parametrize(
    ("status", "said"), [(401, "access token"), (403, "does not allow"), (404, "no wsrunner")]
)
async def test_a_refused_handshake_says_why(status, said):
    def refuse(connection, request):
        return connection.respond(http.HTTPStatus(status), '{"message": "because"}')

    async def never(socket):
        raise AssertionError

    async with serve(never, "127.0.0.1", 0, process_request=refuse) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match=f"{said}.*because") as caught:
            async with Client(f"127.0.0.1:{port}", "secret"):
                pass
        assert caught.value.status == status
        assert "secret" not in str(caught.value)


async def test_redirects_are_not_followed_with_the_token():
    def redirect(connection, request):
        answer = connection.respond(http.HTTPStatus.FOUND, "")
        answer.headers["Location"] = "ws://other.example/steal?x=1"
        return answer

    async def never(socket):
        raise AssertionError

    async with serve(never, "127.0.0.1", 0, process_request=redirect) as server:
        client = Client(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "secret")
        with pytest.raises(ConnectError, match=r"redirects to ws://other\.example \(302\)"):
            async with client:
                pass
        with pytest.raises(ConnectError, match="redirects to ws://other"):
            await client.languages()


async def test_a_feed_that_falls_silent_is_a_lost_connection(monkeypatch):
    async def script(peer):
        assert peer.request.path == "/v1/monitor"
        await peer.socket.send('{"type":"state"}')
        await peer.gone()

    async with scripted(script) as url, aclosing(watch(url)) as messages:
        assert await anext(messages) == {"type": "state"}
        monkeypatch.setattr(feed, "SILENCE_MAX_S", 0.1)
        with pytest.raises(ConnectionLostError, match=r"said nothing for 0\.1 s"):
            await anext(messages)


async def test_nobody_listening_is_a_connect_error():
    async with serve(lambda _: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectError, match="connection refused"):
        async with Client(f"127.0.0.1:{port}"):
            pass


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ws://127.0.0.1:8001", "ws://127.0.0.1:8001/v1/run"),
        ("localhost:8001", "ws://localhost:8001/v1/run"),
        ("http://[::1]:80/", "ws://[::1]:80/v1/run"),
        ("https://run.example/ide/", "wss://run.example/ide/v1/run"),
        ("wss://run.example/v1/run", "wss://run.example/v1/run"),
    ],
)
def test_an_endpoint_is_found_for(given, expected):
    assert endpoint(given) == expected


@pytest.mark.parametrize(
    "given", ["", "ftp://x", "ws://", "ws://x:99999", "a b", "ws://x/?token=t"]
)
def test_no_endpoint_is_found_for(given):
    with pytest.raises(ValueError, match="server"):
        endpoint(given)


async def test_mistakes_in_the_call_are_errors_at_once():
    async def script(peer):
        await peer.gone()

    with pytest.raises(ValueError, match="printable"):
        Client(token="a\nb")
    with pytest.raises(RuntimeError, match="not open"):
        await Client().run("python", code="")
    async with scripted(script) as url, Client(url) as client:
        with pytest.raises(ValueError, match="exactly one"):
            await client.run("python")
        with pytest.raises(ValueError, match="memory"):
            await client.run("python", code="", limits={"memory": 5})
        assert repr(client).endswith("open, 0 runs>")
