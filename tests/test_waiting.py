"""Programs that want input: told once they wait for it, and only then."""

import asyncio

import pytest

from tests.live.test_kept import attach, begin, hear_all
from tests.talk import PATIENCE_S
from wsrunner.client import Client
from wsrunner.runs.asking import UNDER_WAY_S, Asking

ASKS = "for name in 'ab': print(input(name + '? '))"
TTY = {"columns": 80, "rows": 24}


@pytest.mark.parametrize("tty", [None, TTY])
async def test_a_program_that_wants_input_is_told_once_each_time_behind_its_prompt(server, tty):
    async with server.talk() as talk:
        await talk.say("run", language="python", code=ASKS, tty=tty, waiting=True)
        for letter in "ab":
            await talk.hear_kind("waiting")
            heard = [event for event in talk.heard[None] if event["type"] != "started"]
            assert heard[-1]["type"] == "waiting"
            assert heard[-2]["data"].endswith(f"{letter}? ")
            talk.heard[None].remove(heard[-1])
            await talk.say("stdin", data="x\n")
        outcome = await talk.finish()
    assert outcome.code == 0
    assert "waiting" not in [event["type"] for event in outcome.events]


async def test_who_does_not_ask_is_not_told(server):
    async with server.talk() as talk:
        await talk.say("run", id="told", language="python", code="input()", waiting=True)
        await talk.say("run", id="untold", language="python", code="input()")
        await talk.hear_kind("waiting", id="told")
        await talk.say("eof", id="told")
        await talk.finish("told")
        await talk.say("eof", id="untold")
        outcome = await talk.finish("untold")
    assert "waiting" not in [event["type"] for event in outcome.events]


NOT_WAITING = {
    "busy": "import time\nend = time.time() + 1\nwhile time.time() < end: pass",
    "asleep": "import time\ntime.sleep(1)",
    "another process's output": "import subprocess\nsubprocess.run(['sh', '-c', 'sleep 1; echo'],"
    " stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)",
    "a pipe": "import os, threading, time\nr, w = os.pipe()\n"
    "threading.Timer(1, os.write, (w, b'x')).start()\nos.read(r, 1)",
}


@pytest.mark.parametrize("what", NOT_WAITING)
async def test_a_program_that_waits_for_something_else_is_not_told(server, what):
    async with server.talk() as talk:
        code = (
            f"print('begun', flush=True)\n{NOT_WAITING[what]}\nprint('asks', flush=True)\ninput()"
        )
        await talk.say("run", language="python", code=code, waiting=True)
        await talk.hear_kind("waiting")
        kinds = [event["type"] for event in talk.heard[None]]
        text = "".join(event.get("data", "") for event in talk.heard[None])
        assert (text, kinds.count("waiting")) == ("begun\nasks\n", 1)
        await talk.say("eof")
        await talk.finish()


WAYS = {
    "a thread": "import threading\nt = threading.Thread(target=input)\nt.start()\nt.join()",
    "a child": "import subprocess\nsubprocess.run(['head', '-1'])",
    "a pipeline": "import subprocess\nsubprocess.run('head -1 | cat', shell=True)",
    "another descriptor": "import os\nos.dup2(0, 9)\nos.close(0)\nos.read(9, 1)",
    "select": "import select, sys\nselect.select([sys.stdin], [], [])",
    "poll": "import select\np = select.poll()\np.register(0, select.POLLIN)\np.poll()",
    "an event loop": "import asyncio, sys\nasync def main():\n"
    " loop = asyncio.get_running_loop()\n done = loop.create_future()\n"
    " loop.add_reader(0, lambda: done.done() or done.set_result(sys.stdin.readline()))\n"
    " await done\nasyncio.run(main())",
}


@pytest.mark.parametrize("way", WAYS)
async def test_it_is_seen_in_whatever_way_a_program_reads(server, way):
    async with server.talk() as talk:
        await talk.say("run", language="python", code=WAYS[way], waiting=True)
        await talk.hear_kind("waiting")
        await talk.say("stdin", data="x\n")
        assert (await talk.finish()).code == 0


@pytest.mark.parametrize("keep_s", [None, 5])
async def test_the_python_client_is_told(server, keep_s):
    asked = asyncio.Queue()
    async with asyncio.timeout(PATIENCE_S), Client(server.url) as client:
        run = await client.run(
            "python", code=ASKS, keep_s=keep_s, on_waiting=lambda: asked.put_nowait(True)
        )
        for _ in "ab":
            await asked.get()
            await run.stdin("x\n")
        printed = b"".join([output.data async for output in run])
    assert printed == b"a? x\nb? x\n"
    assert asked.empty()


async def test_of_runs_in_one_workspace_those_are_told_that_ask(server):
    async with server.talk() as talk:
        fields = {"language": "python", "code": "print(input('? '))", "workspace": "asks"}
        for waiting in (True, False, True):
            await talk.say("run", **fields, waiting=waiting)
            if waiting:
                await talk.hear_kind("waiting")
                talk.heard[None].pop()
            await talk.say("stdin", data="x\n")
            outcome = await talk.finish()
            assert (outcome.stdout, outcome.code) == ("? x\n", 0)
        await talk.say("forget", workspace="asks")
        await talk.hear_kind("forgotten")


async def test_who_attaches_later_hears_that_it_waits_on_any_server(replicas):
    one, two = replicas(2)
    async with one.talk() as first, two.talk() as second:
        accepted = await begin(first, code="print(input('a? '))", waiting=True)
        await first.hear_kind("waiting")
        await attach(second, accepted, "view")
        told = await second.hear_kind("waiting")
        assert (told["run"], told["seq"]) == (accepted["run"], 3)
        await first.say("stdin", data="x\n")
        assert [event["type"] for event in await hear_all(second)] == ["stdout", "exit"]


def test_what_was_seen_before_input_is_past_and_what_is_seen_with_it_waits_a_moment():
    asking = Asking()
    assert asking.due_s() is None
    asking.saw(waiting=True)
    assert asking.due_s() < 1
    asking.told()
    assert asking.due_s() is None
    asking.input(100.0)
    assert asking.due_s() is None
    asking.saw(waiting=True)
    assert asking.due_s() == 100.0 + UNDER_WAY_S
    asking.saw(waiting=False)
    assert asking.due_s() is None
