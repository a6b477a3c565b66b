"""What every language is tried with: the programs in ``tests/programs``, run as a client runs them.

Each check returns ``yes`` or, in a few words, what happened instead.
"""

import asyncio
import contextlib
from pathlib import Path

from tests.docker_fixtures import PROGRAMS
from tests.talk import open_talk

SILENCE_S = 20
"""What a program printed without flushing shows within this time of its start, or not at all."""
LINES = 10_000
LINE = "x" * 99 + "\n"
ARGUMENTS = ["one", "two words", "-3", "$HOME", "é"]
GREETING = "hello * world"


class SurpriseError(Exception):
    """A program did something else than it should; in a few words what."""


class Case:
    """One language's programs, and a server to run them on."""

    def __init__(self, url, language):
        self.url = url
        self.language = language
        self.folder = PROGRAMS / language.id

    def source(self, program):
        """Return the fields of a request that say what to run.

        Raises:
            SurpriseError: The language has no such program.
        """
        for path in self.folder.glob(f"{program}.*"):
            return {"code": path.read_text()}
        if not (self.folder / program).is_dir():
            raise SurpriseError("not tried")
        found = sorted(path for path in (self.folder / program).rglob("*") if path.is_file())
        found.sort(key=lambda path: path.name != self.language.file)
        names = [str(path.relative_to(self.folder / program)) for path in found]
        pairs = zip(names, found, strict=True)
        return {"files": [{"name": name, "content": path.read_text()} for name, path in pairs]}

    @contextlib.asynccontextmanager
    async def begun(self, program):
        """Start a program that reads stdin, and wait until it runs."""
        fields = self.source(program)
        async with open_talk(self.url) as talk:
            await talk.say("run", language=self.language.id, **fields)
            await talk.hear_started()
            yield talk

    async def ended(self, program, **fields):
        """Run a program to its end and return the outcome."""
        fields |= self.source(program)
        async with open_talk(self.url) as talk:
            return await talk.run(self.language.id, **fields)


def expect(outcome, *, stdout, code=0):
    """Raise a surprise unless the program printed just this and exited so."""
    if outcome.error:
        raise SurpriseError(outcome.error["message"])
    said = outcome.stream("stdout").decode(errors="replace")
    complained = outcome.stream("stderr").decode(errors="replace")
    if outcome.stage != "run":
        raise SurpriseError(f"the build failed: {_last(said + complained)}")
    ended = f"exit {outcome.code}" if outcome.reason == "exited" else outcome.reason
    if outcome.signal:
        ended = outcome.signal
    if ended != f"exit {code}":
        raise SurpriseError(f"{ended}: {_last(said + complained)}")
    if said != stdout:
        raise SurpriseError(f"prints {_last(said)!r}")
    if complained:
        raise SurpriseError(f"says {_last(complained)!r}")


def _last(text):
    lines = text.strip().splitlines() or [""]
    return lines[-1][:80]


async def hello(case):
    expect(await case.ended("hello", stdin=""), stdout="hello\n")


async def lines(case):
    async with case.begun("live") as talk:
        await _shows(talk, "one\n")
        await talk.say("stdin", data="\n")
        expect(await talk.finish(), stdout="one\ntwo\n")


async def prompts(case):
    async with case.begun("prompt") as talk:
        await _shows(talk, "number? ")
        await talk.say("stdin", data="12\n")
        expect(await talk.finish(), stdout="number? 144\n")


async def waiting(case):
    """Answer the program when it is told to wait, on pipes and on a terminal."""
    for tty in (None, {}):
        fields = case.source("prompt")
        async with open_talk(case.url) as talk:
            await talk.say("run", language=case.language.id, waiting=True, tty=tty, **fields)
            await talk.hear_started()
            try:
                async with asyncio.timeout(SILENCE_S):
                    await talk.hear_kind("waiting")
            except TimeoutError:
                raise SurpriseError("no") from None
            await talk.say("stdin", data="12\n")
            outcome = await talk.finish()
        if "144" not in outcome.stdout:
            raise SurpriseError(f"prints {_last(outcome.stdout)!r}")


async def _shows(talk, text):
    try:
        async with asyncio.timeout(SILENCE_S):
            await talk.hear_output(text)
    except TimeoutError:
        raise SurpriseError("no") from None
    except AssertionError:
        outcome = await talk.finish()
        raise SurpriseError(f"ends: {_last(outcome.stdout + outcome.stderr)}") from None


async def stdin(case):
    expect(await case.ended("count", stdin=LINE * LINES), stdout=f"{LINES}\n")


async def arguments(case):
    outcome = await _arguments(case)
    expected = "".join(f"{line}\n" for line in [*ARGUMENTS, GREETING])
    expect(outcome, stdout=expected, code=outcome.code if outcome.stage == "run" else 0)


async def exit_code(case):
    outcome = await _arguments(case)
    expect(outcome, stdout=outcome.stream("stdout").decode(errors="replace"), code=7)


async def _arguments(case):
    return await case.ended("arguments", stdin="", args=ARGUMENTS, env={"GREETING": GREETING})


async def crash(case):
    outcome = await case.ended("crash", stdin="")
    if outcome.stage != "run":
        raise SurpriseError(f"the build failed: {_last(outcome.stderr)}")
    if outcome.signal != "SIGSEGV":
        raise SurpriseError(outcome.signal or f"exit {outcome.code}")


async def files(case):
    expect(await case.ended("files", stdin=""), stdout="42\n")


async def modules(case):
    expect(await case.ended("modules", stdin=""), stdout="here\n")


CHECKS = {
    "hello": hello,
    "lines": lines,
    "prompts": prompts,
    "waiting": waiting,
    "stdin": stdin,
    "arguments": arguments,
    "exit code": exit_code,
    "crash": crash,
    "files": files,
    "modules": modules,
}


async def attempt(check, case):
    """Return ``yes``, or what happened instead."""
    try:
        await check(case)
    except SurpriseError as surprise:
        return str(surprise)
    except TimeoutError:
        return "no answer"
    return "yes"


def programs():
    """Return the languages that there are programs for."""
    return {path.name for path in Path(PROGRAMS).iterdir() if path.is_dir()}
