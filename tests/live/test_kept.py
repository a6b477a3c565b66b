"""Runs that outlive their socket, on one server: resumed, watched, driven, forgotten."""

import asyncio
import json
import subprocess

import pytest

from tests.talk import PATIENCE_S, payload

GO_ON = "import sys\nfor line in sys.stdin: print('got', line, end='')\nprint('over')"


async def begin(talk, code=GO_ON, keep_s=60, **fields):
    """Start a kept run; return its `accepted`."""
    await talk.say("run", language="python", code=code, keep_s=keep_s, **fields)
    while (accepted := await talk.hear()).get("id") != fields.get("id"):
        pass  # another run's
    assert accepted["type"] == "accepted", accepted
    assert len({accepted["run"], accepted["drive"], accepted["view"]}) == 3
    return accepted


async def attach(talk, accepted, role="drive", after=0, **fields):
    """Attach to a kept run; return its `attached`."""
    await talk.say("attach", run=accepted["run"], key=accepted[role], after=after, **fields)
    while (attached := await talk.hear()).get("id") != fields.get("id"):
        pass  # another run's
    assert attached["type"] == "attached", attached
    assert attached["role"] == role
    return attached


async def hear_all(talk):
    """Hear a run to its end; return its messages."""
    events = []
    while not events or events[-1]["type"] not in {"exit", "error", "detached"}:
        events.append(await talk.hear())
    return events


def text(events):
    return b"".join(payload(event) for event in events if event["type"] == "stdout").decode()


def seqs(events):
    return [event["seq"] for event in events if "seq" in event]


async def test_a_run_goes_on_without_its_socket_and_is_read_on_where_it_was_left(server):
    async with server.talk() as first:
        accepted = await begin(first)
        await first.say("stdin", data="one\n")
        await first.hear_output("got one\n")
    async with server.talk() as second:
        attached = await attach(second, accepted, after=2)
        assert (attached["stage"], attached["eofs"]) == ("run", 0)
        await second.say("stdin", data="two\n")
        await second.say("eof")
        events = await hear_all(second)
    assert text(events) == "got two\nover\n"
    assert seqs(events) == list(range(3, 3 + len(seqs(events))))
    assert (events[-1]["reason"], events[-1]["code"]) == ("exited", 0)
    async with server.talk() as late:
        await attach(late, accepted, "view")
        events = await hear_all(late)
        assert text(events) == "got one\ngot two\nover\n"
        assert seqs(events) == sorted(set(seqs(events)))
        # Who has all of it is told no second exit.
        await attach(late, accepted, "view", after=events[-1]["seq"])
        assert (await late.hear())["type"] == "detached"


async def test_without_a_driver_it_is_cancelled_after_keep_s(server):
    async with server.talk() as viewer:
        async with server.talk() as driver:
            accepted = await begin(driver, keep_s=0.2)
            await attach(viewer, accepted, "view")
        events = await hear_all(viewer)
    assert events[-1]["reason"] == "cancelled"


async def test_who_goes_at_once_hears_what_it_has_left_and_may_use_the_id_again(server, once):
    run = {"type": "run", "id": "a", "language": "python", "code": GO_ON, "keep_s": 60}
    detach = {"type": "detach", "id": "a"}
    async with server.talk() as talk:
        await talk.say_together(run | {"once": once}, detach)
        accepted = await talk.hear()
        assert accepted["type"] == "accepted"
        while (detached := await talk.hear())["type"] in {"queued", "started"}:
            pass
        assert (detached["type"], detached["run"]) == ("detached", accepted["run"])
        come = {"type": "attach", "id": "a", "run": accepted["run"], "key": accepted["drive"]}
        await talk.say_together(come, detach)
        assert [(await talk.hear())["type"] for _ in range(2)] == ["attached", "detached"]
        await talk.say_together(run | {"language": "nonsense"}, detach)
        assert (await talk.hear_error_of("a"))["code"] == "unknown_language"
        await attach(talk, accepted, id="a")
        await talk.say("cancel", id="a")
        await hear_all(talk)


async def test_a_driver_who_comes_back_in_time_keeps_it(server):
    async with server.talk() as driver:
        accepted = await begin(driver, keep_s=30)
    async with server.talk() as driver:
        await attach(driver, accepted)
        await driver.say("cancel")
        assert (await hear_all(driver))[-1]["reason"] == "cancelled"


async def test_the_same_once_never_runs_twice(server, once):
    async with server.talk() as first:
        # Its answer is not waited for: the request may be all that got through.
        await first.say("run", language="python", code=GO_ON, keep_s=60, once=once)
        async with server.talk() as second:
            accepted = await begin(second, once=once)
            await second.say("eof")
            assert text(await hear_all(second)) == "over\n"
            again = await begin(second, once=once)
            assert again == accepted
            assert text(await hear_all(second)) == "over\n"
        assert await first.hear() == accepted


async def test_stdin_that_is_sent_again_is_taken_once(server, once):
    async with server.talk() as first:
        accepted = await begin(first, once=once)
        await first.say("stdin", data="one\ntw", at=0)
        await first.hear_output("got one\n")
    async with server.talk() as second:
        attached = await attach(second, accepted, after=2, once=once)
        assert attached["stdin_bytes"] == 6
        await second.say("stdin", data="o\n", at=9)
        error = await second.hear_error()
        assert (error["code"], error["path"]) == ("bad_message", "$.at")
        assert "only 6 bytes have come" in error["message"]
        await second.say("stdin", data="one\ntwo\n", at=0)
        # Another driver's bytes are not counted among these.
        async with server.talk() as other:
            await attach(other, accepted)
            await other.say("stdin", data="three\n", at=0)
            await other.hear_output("got three\n")
        await second.say("stdin", data="four\n", at=8)
        await second.say("eof")
        events = await hear_all(second)
    assert text(events) == "got two\ngot three\ngot four\nover\n"


async def test_who_views_can_only_watch(server):
    async with server.talk() as driver, server.talk() as viewer:
        accepted = await begin(driver, tty={})
        await attach(viewer, accepted, "view")
        for message in (
            {"kind": "stdin", "data": "x"},
            {"kind": "eof"},
            {"kind": "signal", "signal": "SIGKILL"},
            {"kind": "resize", "columns": 10, "rows": 10},
            {"kind": "cancel"},
        ):
            kind = message.pop("kind")
            await viewer.say(kind, **message)
            while (event := await viewer.hear())["type"] != "error":
                pass
            assert event["code"] == "not_allowed", kind
        await viewer.say("detach")
        assert (await viewer.hear())["type"] == "detached"
        await viewer.say("detach")
        assert (await viewer.hear())["code"] == "no_such_run"
        await driver.say("cancel")
        assert (await hear_all(driver))[-1]["reason"] == "cancelled"


async def test_keys_that_do_not_fit_open_nothing_and_tell_nothing(server):
    async with server.talk() as driver, server.talk() as other:
        accepted = await begin(driver)
        second = await begin(other)
        async with server.talk() as stranger:
            answers = []
            for run, key in (
                (accepted["run"], second["drive"]),
                (accepted["run"], "guess"),
                (accepted["run"], accepted["run"]),
                (accepted["run"], "ключ"),
                ("0" * 16, accepted["drive"]),
            ):
                await stranger.say("attach", run=run, key=key)
                answer = await stranger.hear_error()
                answers.append((answer["code"], answer["message"].replace(run, "")))
            assert len(set(answers)) == 1, answers
            assert answers[0][0] == "no_such_run"
        log = server.log.read_text()
        assert not any(key in log for key in (accepted["drive"], accepted["view"]))
        for talk in (driver, other):
            await talk.say("eof")
            await hear_all(talk)


async def test_what_a_journal_does_not_hold_any_more_is_a_gap(start_server):
    server = start_server(journal_kb=64, warm_max=0)
    code = "import sys\nsys.stdin.read(1)\nfor n in range(20000): print('%09d' % n)"
    async with server.talk() as driver:
        accepted = await begin(driver, code=code)
        async with server.talk() as viewer:
            await attach(viewer, accepted, "view")
            await driver.say("stdin", data="x")
            assert text(await hear_all(driver)).count("\n") == 20000
            events = await hear_all(viewer)
        assert_whole_or_gap(events, 200_000)
        await attach(driver, accepted, "view")
        late = await hear_all(driver)
        assert_whole_or_gap(late, 200_000)
        (gap,) = [event for event in late if event["type"] == "gap"]
        assert gap["next"] <= seqs(late)[0]
        assert gap["missed_bytes"] == gap["before_bytes"]
        assert text(late).endswith("000019999\n")
        # How much that is is not known where nobody knows what the client had.
        await attach(driver, accepted, "view", after=2)
        assert (await hear_all(driver))[0]["missed_bytes"] is None


def assert_whole_or_gap(events, output_bytes):
    """Hold a viewer's transcript against the promise: every byte once, or told as missed."""
    seen = expected = 0
    for event in events:
        if event["type"] == "gap":
            assert event["missed_bytes"] == event["before_bytes"] - seen
            seen, expected = event["before_bytes"], event["next"] - 1
        elif "seq" in event:
            # What several messages would say may come in one, for who views.
            assert event["seq"] > expected
            expected = event["seq"]
            seen += len(payload(event)) if event["type"] == "stdout" else 0
    assert seen == output_bytes
    assert [event["type"] for event in events].count("exit") == 1


async def test_what_is_wrong_with_early_stdin_is_told_once_the_run_is_accepted(server):
    stdin = {"type": "stdin", "data": "x\n"}
    run = {"type": "run", "language": "python", "code": "print(input())", "keep_s": 60}
    async with server.talk() as talk:
        # Its stdin came with it.
        await talk.say_together(run | {"stdin": "given\n"}, stdin)
        kinds = [event["type"] for event in await hear_all(talk)]
        assert kinds[:2] == ["accepted", "error"]
    async with server.talk() as talk:
        # More than is kept: none of what comes behind it is taken either.
        large = [{"type": "stdin", "data": "y" * 600_000}] * 2
        await talk.say_together(run, stdin, *large, stdin, {"type": "eof"})
        assert (await talk.hear())["type"] == "accepted"
        assert (await talk.hear_error())["code"] == "too_large"
        await talk.hear_output("x\n")


async def test_of_a_refused_run_nothing_else_is_told_whatever_came_with_it(server):
    run = {"type": "run", "language": "nonsense", "code": "", "stdin": "", "keep_s": 60}
    async with server.talk() as talk:
        await talk.say_together(run, {"type": "stdin", "data": "x\n"})
        assert (await talk.hear_error())["code"] == "unknown_language"
        await talk.say("stdin", data="x\n")
        assert (await talk.hear_error())["code"] == "no_such_run"


async def test_a_refused_run_is_not_accepted_and_may_be_asked_for_again(server, once):
    async with server.talk() as talk:
        for _ in range(2):
            await talk.say("run", language="nonsense", code="", keep_s=1, once=once)
            assert (await talk.hear_error())["code"] == "unknown_language"
        await talk.say("run", language="python", code="print(1)", keep_s=1, once=once)
        events = await hear_all(talk)
        assert [event["type"] for event in events] == ["accepted", "started", "stdout", "exit"]


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        (
            {"keep_s": 301},
            "limit_out_of_range",
            "keep_s is 301 s; the server keeps a run for 300 s",
        ),
        ({"keep_s": -1}, "bad_message", "keep_s"),
        ({"once": "short"}, "bad_message", "once"),
    ],
)
async def test_what_can_not_be_kept_is_refused_with_the_limit(server, fields, code, words):
    async with server.talk() as talk:
        await talk.say("run", language="python", code="", **fields)
        error = await talk.hear_error()
        assert error["code"] == code
        assert words in error["message"] + error["path"]


async def test_what_is_kept_is_bounded_in_number_bytes_and_viewers(start_server):
    server = start_server(kept_max=2, viewers_max=2, slots=8, drain_s=0)
    async with server.talk() as talk:
        first = await begin(talk, id="a")
        await attach(talk, first, "view", id="v")
        await talk.say("attach", id="w", run=first["run"], key=first["view"])
        error = await talk.hear_error_of("w")
        assert (error["code"], "limit is 2 clients" in error["message"]) == ("kept_full", True)
        await begin(talk, id="b")
        await talk.say("run", id="c", language="python", code="", keep_s=1)
        error = await talk.hear_error_of("c")
        assert (error["code"], "limit is 2 runs" in error["message"]) == ("kept_full", True)
    server = start_server(kept_mb=1, journal_kb=1024, drain_s=0)
    async with server.talk() as talk:
        await begin(talk, id="a")
        await talk.say("run", id="b", language="python", code="", keep_s=1)
        error = await talk.hear_error_of("b")
        assert (error["code"], "limit is 1048576 bytes" in error["message"]) == ("kept_full", True)


async def test_no_more_is_kept_where_many_are_asked_for_at_once(start_server):
    server = start_server(kept_max=2, drain_s=0)
    async with server.talk() as talk:
        run = {"type": "run", "language": "python", "code": "", "keep_s": 1}
        await talk.say_together(*(run | {"id": f"r{number}"} for number in range(5)))
        told = [await talk.hear() for _ in range(5)]
        while len({event["id"] for event in told}) < 5:
            told.append(await talk.hear())
        refused = [event["code"] for event in told if event["type"] == "error"]
        assert refused == ["kept_full"] * 3


async def test_a_journal_is_forgotten_after_its_time(start_server):
    server = start_server(journal_s=0.2, kept_max=1)
    async with server.talk() as talk:
        accepted = await begin(talk, code="")
        await hear_all(talk)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await talk.say("attach", run=accepted["run"], key=accepted["view"])
                events = await hear_all(talk)
                if events[-1]["type"] == "error":
                    break
        assert events[-1]["code"] == "no_such_run"
        # And its place is free again.
        await begin(talk, code="")


async def test_a_server_that_stops_says_goodbye_to_kept_runs(start_server):
    server = start_server(drain_s=0)
    async with server.talk() as driver, server.talk() as viewer:
        accepted = await begin(driver)
        await driver.hear_started()
        await attach(viewer, accepted, "view")
        await asyncio.to_thread(server.stop)
        assert (await hear_all(viewer))[-1]["reason"] == "draining"
        assert await viewer.hear_close() == 1001


async def test_attach_is_typed_by_hand_in_websocat(server, websocat):
    async with server.talk() as driver:
        accepted = await begin(driver)
        line = {"type": "attach", "run": accepted["run"], "key": accepted["drive"]}
        typed = "\n".join(
            json.dumps(each)
            for each in (line, {"type": "stdin", "data": "by hand\n"}, {"type": "eof"})
        )
        process = await asyncio.create_subprocess_exec(
            *(websocat, "-n", f"{server.url}/v1/run"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        process.stdin.write(typed.encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            heard = []
            while not heard or heard[-1]["type"] != "exit":
                heard.append(json.loads(await process.stdout.readline()))
        process.terminate()
        await process.wait()
    assert heard[0]["type"] == "attached"
    assert text(heard) == "got by hand\nover\n"
