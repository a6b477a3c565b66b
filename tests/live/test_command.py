"""``wsrunner run --keep``, ``attach`` and ``watch``, as processes."""

import asyncio
import re
import signal
import subprocess

import pytest

from tests.live.cutter import Cutter
from tests.live.test_kept import GO_ON
from tests.serving import COMMAND, environment
from tests.talk import PATIENCE_S


class Process:
    """A command with pipes."""

    def __init__(self, process):
        self.process = process
        self.printed = b""

    @classmethod
    async def start(cls, *args, **variables):
        return cls(
            await asyncio.create_subprocess_exec(
                *(COMMAND, *args),
                env=environment(**variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )

    async def says(self):
        """Return the next line on stderr."""
        async with asyncio.timeout(PATIENCE_S):
            return (await self.process.stderr.readline()).decode()

    async def links(self):
        """Return what `run --keep` says on stderr: how to drive and how to watch."""
        return [re.search(r"'(\S+)'", await self.says())[1] for _ in range(2)]

    async def until(self, text):
        async with asyncio.timeout(PATIENCE_S):
            while text.encode() not in self.printed:
                data = await self.process.stdout.read(65536)
                assert data, (self.printed, await self.process.stderr.read())
                self.printed += data

    def type(self, text):
        self.process.stdin.write(text.encode())

    async def end(self, *, eof=False):
        """Wait for its end; return exit code and all that it printed."""
        async with asyncio.timeout(PATIENCE_S):
            if eof:
                self.process.stdin.close()
            rest = await self.process.stdout.read()
            await self.process.stderr.read()
            return await self.process.wait(), (self.printed + rest).decode()


async def test_a_run_that_is_kept_survives_lost_connections(server):
    async with Cutter([server.address]) as way:
        run = await Process.start(
            "run", "--keep", "60", "-l", "python", "-c", GO_ON, WSRUNNER_URL=way.url
        )
        await run.links()
        for number in range(3):
            way.cut()
            run.type(f"{number}\n")
            await run.until(f"got {number}\n")
        way.cut()
        code, printed = await run.end(eof=True)
        assert way.connections > 3
    assert (code, printed) == (0, "got 0\ngot 1\ngot 2\nover\n")


async def test_one_drives_and_one_watches_what_a_third_began(server):
    code = GO_ON + "\nraise SystemExit(3)"
    run = await Process.start(
        "run", "--keep", "60", "-l", "python", "-c", code, WSRUNNER_URL=server.url
    )
    drive, view = await run.links()
    run.type("one\n")
    await run.until("got one\n")
    watching = await Process.start("watch", view)
    await watching.until("got one\n")
    leaving = await Process.start("watch", view)
    await leaving.until("got one\n")
    leaving.process.send_signal(signal.SIGINT)
    assert (await leaving.end())[0] == 130
    # Its terminal is closed; the run waits for somebody.
    run.process.send_signal(signal.SIGHUP)
    assert (await run.end())[0] == 129
    driving = await Process.start("attach", drive)
    await driving.until("got one\n")
    driving.type("two\n")
    await watching.until("got two\n")
    expected = (3, "got one\ngot two\nover\n")
    assert await driving.end(eof=True) == expected
    assert await watching.end() == expected
    assert await (await Process.start("watch", view)).end() == expected


async def test_a_link_need_not_be_an_argument_that_all_can_see(server, tmp_path):
    run = await Process.start(
        "run", "--keep", "60", "-l", "python", "-c", GO_ON, WSRUNNER_URL=server.url
    )
    drive, view = await run.links()
    run.process.send_signal(signal.SIGHUP)
    await run.end()
    file = tmp_path / "link"
    file.write_text(f"{view}\n")
    file.chmod(0o600)
    by_file = await Process.start("watch", "--link-file", file)
    by_variable = await Process.start("watch", WSRUNNER_LINK=view)
    by_stdin = await Process.start("attach", "--link-file", "-")
    by_stdin.type(f"{drive}\none\n")
    expected = (0, "got one\nover\n")
    assert await by_stdin.end(eof=True) == expected
    assert await by_file.end() == expected
    assert await by_variable.end() == expected


async def test_there_must_be_one_link(tmp_path):
    link = "http://127.0.0.1:1#live=0000.key"
    for given in ((), (link, "--link-file", tmp_path / "link"), ("--link-file", tmp_path / "none")):
        assert (await (await Process.start("watch", *given)).end())[0] == 2


@pytest.mark.parametrize("link", ["nonsense", "http://127.0.0.1:1#live=x"])
async def test_what_is_no_link_is_a_usage_error(link):
    process = await Process.start("watch", link)
    assert (await process.end())[0] == 2


async def test_a_key_that_does_not_fit_is_refused(server):
    link = f"http://{server.address}#live=0000.guess"
    assert (await (await Process.start("attach", link)).end())[0] == 64
