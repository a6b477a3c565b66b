"""Many watch one run, well or badly; its driver does not notice."""

import asyncio
import contextlib

from tests.live.test_kept import assert_whole_or_gap, attach, begin, hear_all, text
from tests.talk import PATIENCE_S, open_talk
from wsrunner.live import show as module
from wsrunner.live.kept import Kept
from wsrunner.runs.events import Output
from wsrunner.settings import Settings

LINES = 400_000
CODE = f"input()\nfor n in range({LINES}): print('%09d' % n)"
OUTPUT_BYTES = 10 * LINES


async def test_who_reads_nothing_holds_nobody_up_and_is_told_what_it_missed(start_server):
    # Were a viewer waited for, the driver would wait until it is dropped: a day.
    server = start_server(slow_client_s=86_400, warm_max=0)
    async with contextlib.AsyncExitStack() as stack:
        driver = await stack.enter_async_context(server.talk())
        accepted = await begin(driver, code=CODE)
        viewers = []
        for _ in range(60):
            # Its own queue is full after a message, and then it leaves its socket unread.
            viewer = await stack.enter_async_context(open_talk(server.url, max_queue=1))
            await attach(viewer, accepted, "view")
            viewers.append(viewer)
        await driver.say("stdin", data="\n")
        assert len(text(await hear_all(driver))) == OUTPUT_BYTES
        for viewer in viewers[:5]:
            events = await hear_all(viewer)
            assert "gap" in [event["type"] for event in events]
            assert_whole_or_gap(events, OUTPUT_BYTES)
        assert server.metrics()["wsrunner_kept_clients"] >= 55
        for viewer in viewers[5:]:
            viewer.connection.transport.abort()


async def test_viewers_who_come_and_go_and_talk_rubbish_do_no_harm(server):
    code = "import sys\nfor line in sys.stdin: print(line, end='')"
    async with server.talk() as driver:
        accepted = await begin(driver, code=code)
        await driver.hear_started()

        async def come_and_go(number):
            async with server.talk() as viewer:
                await attach(viewer, accepted, "view", after=number % 7)
                for rubbish in ("", "{", '{"type":"attach"}', '{"type":"stdin","data":"x"}'):
                    await viewer.say_raw(rubbish)
                if number % 2:
                    await viewer.say("detach")
                    while (await viewer.hear())["type"] != "detached":
                        pass
                viewer.connection.transport.abort()

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            for number in range(120):
                group.create_task(come_and_go(number))
                await driver.say("stdin", data=f"{number}\n")
        await driver.say("eof")
        events = await hear_all(driver)
        assert text(events) == "".join(f"{number}\n" for number in range(120))


async def test_a_crowd_hears_the_same_as_one(server):
    async with contextlib.AsyncExitStack() as stack:
        driver = await stack.enter_async_context(server.talk())
        accepted = await begin(driver, code=CODE.replace(str(LINES), "20_000"))
        crowd = [await stack.enter_async_context(server.talk()) for _ in range(120)]
        for number, viewer in enumerate(crowd):
            await attach(viewer, accepted, "view", id=f"v{number % 3}")
        await driver.say("stdin", data="\n")
        expected = text(await hear_all(driver))
        for number, heard in enumerate(await asyncio.gather(*map(hear_all, crowd))):
            assert_whole_or_gap(heard, len(expected))
            assert text(heard) == expected
            assert {event["id"] for event in heard} == {f"v{number % 3}"}


async def test_viewers_of_a_crowd_take_turns_and_hear_several_lines_at_once(monkeypatch):
    monkeypatch.setattr(module, "VIEWER_PACE_S", 1000.0)
    monkeypatch.setattr(module, "PACE_MAX_S", 1000.0)
    record = module.Record("r", "drive", "view", 1.0)
    kept = Kept(record, Settings(), on_news=lambda _: None, on_end=lambda _: None)
    viewer = kept.sit("view")
    kept.add(1, Output(1, 1, b"0\n"))
    kept._wake_all()
    assert [item.event.data for item in await viewer.next()] == [b"0\n"]
    hearing = asyncio.create_task(viewer.next())
    for number in range(2, 12):
        kept.add(number, Output(number, 1, b"%d\n" % number))
        await asyncio.sleep(0)
    assert not hearing.done()
    kept._wake_all()
    assert [item.seq for item in await hearing] == [11]
    # Of what is much, as after a flood, nobody waits for the next part.
    kept.add(12, Output(12, 1, b"x" * module.TAKE_BYTES))
    assert [item.seq for item in await viewer.next()] == [12]
    # Nor at the end.
    hearing = asyncio.create_task(viewer.next())
    kept.add(13, module.Exit(13, "run", "exited", 0, None, 0, 0, None, None, 0, False))
    assert [item.seq for item in await hearing] == [13]
