"""A JSON-protocol client for tests: say this, hear that.

It keeps what it heard by run, and holds every transcript against what the protocol promises of all
runs: one exit, at the end, and nothing lost or out of order before it.
"""

import asyncio
import base64
import contextlib
import json
from itertools import pairwise

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

PATIENCE_S = 60
"""How long a test waits for something that must come: never the time it should take."""
CHUNK_MAX_BYTES = 32 * 1024


def payload(event):
    """Return the bytes of a stdout or stderr message."""
    if "data" in event:
        assert "base64" not in event
        return event["data"].encode()
    data = base64.b64decode(event["base64"], validate=True)
    with contextlib.suppress(UnicodeDecodeError):
        data.decode()
        raise AssertionError(f"text came as base64: {data[:80]!r}")
    return data


class Outcome:
    """All that was heard of one run."""

    def __init__(self, events):
        self.events = events
        self.exit = events[-1] if events[-1]["type"] == "exit" else None
        self.error = events[-1] if events[-1]["type"] == "error" else None

    def __repr__(self):
        return f"<outcome {[event['type'] for event in self.events][-8:]} {self.events[-1]}>"

    def __getattr__(self, name):
        """Read the exit's fields: `outcome.reason`, `outcome.code`, …."""
        assert self.exit is not None, f"no exit in {self!r}"
        return self.exit[name]

    def stream(self, kind):
        """Return all bytes of ``stdout`` or ``stderr``."""
        return b"".join(payload(event) for event in self.events if event["type"] == kind)

    @property
    def stdout(self):
        return self.stream("stdout").decode()

    @property
    def stderr(self):
        return self.stream("stderr").decode()

    @property
    def stages(self):
        return [event["stage"] for event in self.events if event["type"] == "started"]

    @property
    def positions(self):
        return [event["position"] for event in self.events if event["type"] == "queued"]

    def check(self):
        """Hold it against what is promised of every accepted run."""
        if self.error:
            # Refused: the error is the only answer.
            assert [event["type"] for event in self.events] == ["error"], self
            assert "retry_after_s" not in self.error or self.error["retry_after_s"] >= 0
            return self
        kinds = [event["type"] for event in self.events]
        assert kinds.count("exit") == 1
        order = [kind for kind in kinds if kind in {"queued", "started", "exit"}]
        rank = {"queued": 0, "started": 1, "exit": 2}
        assert order == sorted(order, key=rank.get), kinds
        output = [event for event in self.events if event["type"] in {"stdout", "stderr"}]
        assert [event["seq"] for event in output] == list(range(1, len(output) + 1))
        assert all(0 < len(payload(event)) <= CHUNK_MAX_BYTES for event in output)
        if output:
            assert kinds.index("started") < kinds.index(output[0]["type"])
        assert sum(len(payload(event)) for event in output) == self.output_bytes
        drained = [event["bytes"] for event in self.events if event["type"] == "drained"]
        assert drained == sorted(set(drained)), "drained without news"
        runs = {event["run"] for event in self.events if "run" in event}
        assert len(runs) == 1
        assert self.stage == (self.stages or ["queue"])[-1]
        assert (self.code is not None) == (self.reason == "exited")
        assert (self.signal is not None) == (self.reason == "signaled")
        assert self.truncated == (self.reason == "output_limit")
        for before, after in pairwise(e for e in self.events if e["type"] == "queued"):
            rise = max(after["position"] - before["position"], 0)
            assert after.get("overtaken", 0) == rise
        return self


class Talk:
    """One socket of the JSON protocol."""

    def __init__(self, connection):
        self.connection = connection
        self.heard = {}

    async def say(self, kind, /, **fields):
        """Send one message; fields that are None are left out."""
        given = {name: value for name, value in fields.items() if value is not None}
        await self.connection.send(json.dumps({"type": kind, **given}))

    async def say_raw(self, message):
        await self.connection.send(message)

    async def say_together(self, *messages):
        """Send messages in one piece, so that the server reads them at once."""
        for message in messages:
            self.connection.protocol.send_text(json.dumps(message).encode())
        self.connection.transport.write(b"".join(self.connection.protocol.data_to_send()))

    async def hear(self):
        """Return the next message, whichever run it is about."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self.connection.recv()
        assert isinstance(message, str)
        event = json.loads(message)
        self.heard.setdefault(event.get("id"), []).append(event)
        return event

    async def hear_error(self):
        """Return the next message, which must be an error, and forget it."""
        event = await self.hear()
        assert event["type"] == "error", event
        self.heard[event.get("id")].remove(event)
        return event

    async def hear_error_of(self, id):  # noqa: A002
        """Hear until something about this run was refused; return that error."""
        while (event := await self.hear())["type"] != "error" or event.get("id") != id:
            pass
        return event

    async def hear_close(self):
        """Hear until the socket has been closed; return the close code."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        return self.connection.close_code

    async def hear_kind(self, kind, id=None):  # noqa: A002
        """Hear until a message of this type about this run has come; return it."""
        return await self._first(id, lambda event: event["type"] == kind)

    async def hear_started(self, stage="run", id=None):  # noqa: A002
        """Hear until a stage of this run has begun."""
        return await self._first(
            id, lambda event: event["type"] == "started" and event["stage"] == stage
        )

    async def _first(self, id, matches):  # noqa: A002
        at = 0
        while True:
            events = self.heard.get(id, [])
            for event in events[at:]:
                if matches(event):
                    return event
                assert event["type"] not in {"exit", "error"}, f"ended early: {events[-5:]}"
            at = len(events)
            await self.hear()

    async def hear_output(self, text, id=None, kind="stdout"):  # noqa: A002
        """Hear until the run's output holds this text; return all output so far."""
        while True:
            events = self.heard.get(id, [])
            so_far = b"".join(payload(event) for event in events if event["type"] == kind)
            if text.encode() in so_far:
                return so_far.decode(errors="replace")
            ended = [event for event in events if event["type"] in {"exit", "error"}]
            assert not ended, f"ended without {text!r}: {so_far[-300:]!r} {ended}"
            await self.hear()

    async def finish(self, id=None):  # noqa: A002
        """Hear until this run has ended; return its checked outcome."""
        while True:
            events = self.heard.get(id, [])
            if events and events[-1]["type"] in {"exit", "error"}:
                del self.heard[id]
                return Outcome(events).check()
            await self.hear()

    async def run(self, language, code=None, **fields):
        """Start a run and hear it to its end."""
        await self.say("run", language=language, code=code, **fields)
        return await self.finish(fields.get("id"))


@contextlib.asynccontextmanager
async def open_talk(url, **options):
    """Open a socket of the JSON protocol."""
    connection = await connect(
        f"{url}/v1/run", compression=None, max_size=None, open_timeout=PATIENCE_S, **options
    )
    try:
        yield Talk(connection)
    finally:
        # A connection that the server closed in the middle of a large message may have no event
        # loop any more when it is to be aborted (CPython 3.11, selector transports).
        with contextlib.suppress(AttributeError):
            await connection.close()
