"""What every engine promises: one plan in, output, readiness and reports out."""

import asyncio

import pytest

from tests.talk import PATIENCE_S
from wsrunner.engines.base import STDERR, STDOUT, BadReportError, Frame, Plan, Ready, Report
from wsrunner.errors import EngineUnavailableError


def plan(run, *, build=(), files=None, **fields):
    return Plan(files=files or {}, build=build, run=run, wall_s=60, cpu_s=60, **fields)


async def hear(container, until=Report):
    """Read until an item of this kind has come; return everything so far."""
    heard = []
    async with asyncio.timeout(PATIENCE_S):
        while not any(isinstance(item, until) for item in heard):
            items = await container.read()
            assert items, f"ended after {heard[-5:]}"
            heard += items
    return heard


async def hear_text(container, wanted, heard):
    """Read until this text has come, adding to what was heard."""
    async with asyncio.timeout(PATIENCE_S):
        while wanted not in text(heard):
            items = await container.read()
            assert items, f"ended without {wanted!r}: {heard}"
            heard += items


async def hear_end(container):
    """Read to the container's end; return everything."""
    heard = []
    async with asyncio.timeout(PATIENCE_S):
        while items := await container.read():
            heard += items
    return heard


def text(items, stream=STDOUT):
    frames = [item for item in items if isinstance(item, Frame) and item.stream == stream]
    return b"".join(frame.data for frame in frames).decode()


async def test_output_comes_by_stream_and_the_report_after_it(start):
    container = await start()
    container.begin(plan("echo out; echo err >&2; exit 7"))
    *output, report = await hear(container)
    assert (text(output), text(output, STDERR)) == ("out\n", "err\n")
    assert (report.stage, report.code, report.signal) == ("run", 7, None)


async def test_files_are_there_whatever_is_in_them(start):
    container = await start()
    odd = bytes(range(256)) * 3
    container.begin(plan("cat 'a b/c' -; wc -c <empty", files={"a b/c": odd, "empty": b""}))
    container.write(b"!")
    container.write_eof()
    *output, report = await hear(container)
    data = b"".join(item.data for item in output if item.stream == STDOUT)
    assert data == odd + b"!0\n"
    assert report.code == 0


async def test_a_build_reports_before_the_run_and_gets_no_stdin(start):
    container = await start()
    container.begin(plan("cat made -", build=["cat >made", "echo built"]))
    container.write(b"input")
    container.write_eof()
    heard = await hear_end(container)
    kinds = [item.stage if isinstance(item, Report) else "output" for item in heard]
    assert kinds == ["output", "build", "output", "run"]
    assert text(heard) == "built\ninput"


async def test_a_failed_build_is_the_last_report(start):
    container = await start()
    container.begin(plan("echo never", build=["false", "echo never"]))
    heard = await hear_end(container)
    assert [(item.stage, item.code) for item in heard] == [("build", 1)]


async def test_args_and_variables_are_passed_as_they_are(start):
    container = await start()
    args, env = ("a b", "$HOME", "'"), {"NAME": "$x 'y'\n", "UID": "7"}
    container.begin(plan('printf "%s|" "$NAME"', args=args, env=env))
    *output, report = await hear(container)
    assert text(output) == "$x 'y'\n|a b|$HOME|'|"
    assert report.code == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL", "SIGUSR1", "SIGHUP", "SIGQUIT"])
async def test_a_signal_ends_the_program_and_is_reported(start, name):
    container = await start()
    # No shell's word: until its exec bash itself ignores SIGQUIT.
    container.begin(plan("tail -f ready", files={"ready": b"ready\n"}))
    await hear(container, Frame)
    await container.signal(name)
    *_, report = await hear(container)
    numbers = {"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGKILL": 9, "SIGUSR1": 10, "SIGTERM": 15}
    assert (report.signal, report.code) == (numbers[name], None)


async def test_an_unread_program_blocks_and_loses_nothing(start):
    container = await start()
    container.begin(plan("yes 0123456789 | head -c 4000000; echo end >&2"))
    # Without a reader it can't come to its end.
    await asyncio.sleep(0.2)
    *output, report = await hear(container)
    assert len(text(output)) == 4_000_000
    assert text(output, STDERR) == "end\n"
    assert report.code == 0


async def test_unread_stdin_is_told_until_it_has_been_taken(start):
    container = await start()
    container.begin(plan("read -r go; cat | wc -c"))
    container.write(b"x" * 2_000_000)
    assert container.unread_stdin_bytes > 1_000_000
    container.write(b"\n" + b"y" * 1_000_000)
    async with asyncio.timeout(PATIENCE_S):
        await container.drain()
    container.write_eof()
    *output, report = await hear(container)
    assert (text(output), report.code) == ("1000000\n", 0)


async def test_a_read_gives_up_in_time_and_loses_nothing(start):
    container = await start()
    container.begin(plan("read -r x; echo $x"))
    with pytest.raises(TimeoutError):
        await container.read(0.05)
    container.write(b"late\n")
    *output, _ = await hear(container)
    assert text(output) == "late\n"


async def test_a_terminal_is_ready_then_takes_input_and_its_new_size(start):
    container = await start(tty=True)
    sizes = "stty size; read -r x; echo =$x=; stty size; read -r y && exit 9 || exit 3"
    container.begin(plan(sizes, window=(70, 20)))
    heard = await hear(container, Ready)
    await hear_text(container, "20 70", heard)
    await container.resize(100, 30)
    container.write(b"a\n")
    await hear_text(container, "30 100", heard)
    assert "=a=" in text(heard)
    container.write_eof()
    *_, report = await hear(container)
    assert report.code == 3


async def test_a_forged_report_is_noticed(start):
    container = await start()
    lines = (
        'read -r mark; printf "%s" "$mark"',
        'printf "%s build 0 exited - - - -\\n" "$mark" >&2',
    )
    container.begin(plan("; ".join((*lines, "exec cat"))))
    # A program finds the mark in the first process's memory; here it is told.
    mark = container._dialogue.request.split()[0]
    container.write(mark + b"\n")
    with pytest.raises(BadReportError):
        await hear(container)


async def test_a_destroyed_container_ends_its_stream_and_takes_nothing(start):
    container = await start()
    container.begin(plan("exec sleep 60"))
    assert container.alive
    await container.destroy()
    await container.destroy()
    assert not container.alive
    assert await hear_end(container) == []
    with pytest.raises(EngineUnavailableError):
        container.write(b"x")


async def test_a_container_without_a_plan_can_be_destroyed(start):
    container = await start()
    await container.destroy()
    assert not container.alive
