"""Runs from job to exit, over plain processes: no engine, no socket, no JSON."""

import asyncio
import contextlib

import pytest

from tests.engines.processes import ProcessEngine
from tests.talk import PATIENCE_S
from wsrunner import languages
from wsrunner.errors import UnknownLanguageError
from wsrunner.gates.memory import MemoryGate
from wsrunner.runs.delivery import ReaderGoneError
from wsrunner.runs.events import Exit, Output, Queued, Refused, Started
from wsrunner.runs.host import Host
from wsrunner.runs.job import Job, Limits, Principal
from wsrunner.runs.observers import Observer
from wsrunner.runs.pool import Pool
from wsrunner.runs.registry import Registry
from wsrunner.runs.stock import Stock
from wsrunner.runs.workspaces import Workspaces
from wsrunner.settings import Settings

SOMEBODY = Principal("127.0.0.1")


class Listener:
    """A reader that keeps what it hears."""

    def __init__(self):
        self.events = []
        self.gone = self.dropped = False
        self._changed = asyncio.Condition()
        self.is_over = asyncio.Event()

    async def send(self, event):
        if self.gone:
            raise ReaderGoneError
        async with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    async def drop(self):
        self.dropped = True

    def over(self):
        self.is_over.set()

    async def hear_that(self, condition):
        """Wait until the events fulfil a condition."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: self.events and condition(self.events))

    async def hear(self, kind, text=b""):
        """Wait for an event of this kind, and for this text in the output; return the event."""
        await self.hear_that(
            lambda events: any(map(self.is_a(kind), events)) and text in self.text()
        )
        return next(filter(self.is_a(kind), self.events))

    @staticmethod
    def is_a(kind):
        return lambda event: isinstance(event, kind)

    def text(self, stream=1):
        outputs = [event for event in self.events if isinstance(event, Output)]
        return b"".join(event.data for event in outputs if event.stream == stream)


class Record(Observer):
    def __init__(self):
        self.heard = []

    def accepted(self, run):
        self.heard.append(("accepted", run.language))

    def refused(self, error):
        self.heard.append(("refused", error.code))

    def ended(self, run, event):
        self.heard.append(("ended", event.reason))


@contextlib.asynccontextmanager
async def house(slots=4, **settings):
    """Everything that runs need, without Docker."""
    async with contextlib.AsyncExitStack() as stack:
        engine = await stack.enter_async_context(ProcessEngine())
        gate = await stack.enter_async_context(MemoryGate(slots, queue_max=100))
        pool = await stack.enter_async_context(Pool(engine, Stock(0), floors=lambda _: {}))
        workspaces = Workspaces(engine, most=0, most_each=0, idle_s=1.0, scope="")
        registry = Registry(
            Host(
                settings=Settings(**settings),
                catalogue=languages.load(),
                gate=gate,
                engine=engine,
                engine_name="local",
                pool=pool,
                workspaces=workspaces,
            )
        )
        yield registry
        registry.end("cancelled")
        async with asyncio.timeout(PATIENCE_S):
            while registry.live:
                await asyncio.sleep(0.01)


def job(code, **fields):
    return Job("bash", code=code.encode(), **fields)


async def run(registry, asked):
    """Carry a job out; return what its reader heard."""
    listener = Listener()
    registry.start(asked, SOMEBODY, listener)
    async with asyncio.timeout(PATIENCE_S):
        await listener.is_over.wait()
    return listener


async def test_a_run_is_told_in_numbered_events_of_bytes():
    async with house() as registry:
        record = Record()
        registry.host.observers.append(record)
        heard = await run(registry, job(r"printf '\xff\n'; echo e >&2; exit 3"))
    started, *outputs, end = heard.events
    assert started == Started(1, "run")
    assert sorted(event[1:] for event in outputs) == [(1, b"\xff\n"), (2, b"e\n")]
    assert [event.seq for event in heard.events] == list(range(1, len(heard.events) + 1))
    assert (end.stage, end.reason, end.code, end.output_bytes) == ("run", "exited", 3, 4)
    assert record.heard == [("accepted", "bash"), ("ended", "exited")]
    assert registry.live == {}


async def test_what_is_not_accepted_is_refused_and_told_to_the_observers():
    async with house() as registry:
        record = Record()
        registry.host.observers.append(record)
        heard = await run(registry, Job("nonsense", code=b""))
    (refused,) = heard.events
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, UnknownLanguageError)
    assert record.heard == [("refused", "unknown_language")]


async def test_input_comes_through_and_signals_too():
    async with house() as registry:
        listener = Listener()
        asked = job("trap 'echo caught; exit 4' TERM; read -r x; echo =$x=; read -r y")
        started = registry.start(asked, SOMEBODY, listener)
        started.input.stdin(b"early\n")
        await listener.hear(Output, b"=early=")
        started.input.signal("SIGTERM")
        end = await listener.hear(Exit)
    assert (end.reason, end.code, listener.text()) == ("exited", 4, b"=early=\ncaught\n")


async def test_who_waits_hears_positions_and_can_be_ended():
    async with house(slots=1) as registry:
        first, second, third = Listener(), Listener(), Listener()
        one = registry.start(job("read -r x"), SOMEBODY, first)
        await first.hear(Started)
        two = registry.start(job("echo two"), SOMEBODY, second)
        await second.hear(Queued)
        registry.start(job("echo three"), SOMEBODY, third)
        assert (await third.hear(Queued))[:2] == (2, 2)
        two.end("cancelled")
        assert (await second.hear(Exit))[1:3] == ("queue", "cancelled")
        await third.hear_that(lambda events: events[-1][:2] == (1, 1))
        one.input.eof()
        await third.hear(Exit)
        assert third.text() == b"three\n"


@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        ("read -r x", Limits(wall_s=0.2), "timeout"),
        ("while :; do :; done", Limits(cpu_s=1), "cpu_limit"),
        ("yes", Limits(output_kb=1), "output_limit"),
    ],
)
async def test_limits_end_a_run(code, limits, reason):
    async with house() as registry:
        end = (await run(registry, job(code, limits=limits))).events[-1]
    assert (end.reason, end.truncated) == (reason, reason == "output_limit")


async def test_an_abandoned_run_leaves_nothing():
    async with house() as registry:
        listener = Listener()
        abandoned = registry.start(job("read -r x"), SOMEBODY, listener)
        await listener.hear(Started)
        await registry.abandon([abandoned])
        assert listener.is_over.is_set()
        assert registry.live == {}
        assert (await registry.host.gate.state()).held == 0
    assert not [event for event in listener.events if isinstance(event, Exit)]


async def test_a_run_whose_reader_has_gone_is_ended_and_its_slot_is_free():
    async with house() as registry:
        listener = Listener()
        live = registry.start(job("while read -r x; do echo $x; done"), SOMEBODY, listener)
        await listener.hear(Started)
        listener.gone = True
        live.input.stdin(b"x\n")
        async with asyncio.timeout(PATIENCE_S):
            await listener.is_over.wait()
        assert listener.dropped
        assert (await registry.host.gate.state()).held == 0
